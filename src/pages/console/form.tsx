import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Problem } from "./api.ts";

interface FieldProps {
  label: string;
  hint?: string | undefined;
  /** What is wrong with the value. */
  error?: string | undefined;
  /** Renders the control. It must pass these attributes on. */
  children: (control: { id: string; "aria-describedby": string; "aria-invalid": boolean }) => ComponentChildren;
}

/** A control with its label, and with a hint or an error. */
export function Field({ label, hint, error, children }: FieldProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": `${id}-about`, "aria-invalid": error !== undefined })}
      <p id={`${id}-about`} class={error === undefined ? "hint" : "wrong"}>
        {error ?? hint}
      </p>
    </div>
  );
}

/** The kinds of text inputs. A time is local, to the second. */
const KINDS = {
  text: { type: "text" },
  search: { type: "search" },
  secret: { type: "password", autocomplete: "off" },
  time: { type: "datetime-local", step: "1", max: "9999-12-31T23:59:59" },
} as const;

interface TextProps extends Omit<FieldProps, "children"> {
  kind?: keyof typeof KINDS;
  value: string;
  required?: boolean;
  autofocus?: boolean;
  placeholder?: string;
  onInput: (value: string) => void;
}

/** A text input. */
export function Text({ label, hint, error, kind = "text", onInput, ...input }: TextProps) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <input
          {...control}
          {...input}
          {...KINDS[kind]}
          spellcheck={false}
          onInput={({ currentTarget }) => onInput(currentTarget.value)}
        />
      )}
    </Field>
  );
}

interface SelectProps extends Omit<FieldProps, "children"> {
  value: string;
  options: readonly string[];
  /** The label of an empty value, which is then the first option. */
  none?: string;
  onChange: (value: string) => void;
}

/** A menu of values. */
export function Select({ label, hint, error, value, options, none, onChange }: SelectProps) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(control) => (
        <select {...control} value={value} onChange={({ currentTarget }) => onChange(currentTarget.value)}>
          {none !== undefined && <option value="">{none}</option>}
          {options.map((option) => (
            <option key={option} value={option}>
              {option}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

interface CheckProps {
  label: string;
  hint?: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}

/** A checkbox with its label. */
export function Check({ label, hint, checked, onChange }: CheckProps) {
  const id = useId();
  return (
    <div class="check">
      <input
        id={id}
        type="checkbox"
        checked={checked}
        aria-describedby={`${id}-about`}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <label for={id}>{label}</label>
      <p id={`${id}-about`} class="hint">
        {hint}
      </p>
    </div>
  );
}

/** Shows why a request failed. If the reason is about one of the form's fields, the field shows it. */
export function Refusal({ problem, fields = [] }: { problem: Problem | undefined; fields?: readonly string[] }) {
  const isAtField = problem?.field !== undefined && fields.includes(problem.field);
  return (
    <div role="alert">
      {problem && !isAtField && <p class="notice bad">{problem.detail}</p>}
      {problem && isAtField && <p class="notice bad">Not saved. Correct the field that shows an error.</p>}
    </div>
  );
}

/** Returns the message of a problem if it is about this field. */
export function errorAt(problem: Problem | undefined, field: string): string | undefined {
  return problem?.field === field ? problem.detail : undefined;
}
