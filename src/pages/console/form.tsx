import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Problem } from "./api.ts";

interface FieldProps {
  label: string;
  hint?: string | undefined;
  /** What is wrong with it. */
  error?: string | undefined;
  /** The control; it must take what it is given. */
  children: (control: { id: string; "aria-describedby": string; "aria-invalid": boolean }) => ComponentChildren;
}

/** A control with its label, its hint, and what is wrong with it. */
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

/** What a line of text may hold. A time is by the reader's own clock, to the second. */
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

/** A line of text to be entered. */
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
  /** How the empty value is called, which is offered first then. */
  none?: string;
  onChange: (value: string) => void;
}

/** One of several values to be chosen. */
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

/** Tells what the server refused; where that belongs to a field of the form, the field tells it. */
export function Refusal({ problem, fields = [] }: { problem: Problem | undefined; fields?: readonly string[] }) {
  const isAtField = problem?.field !== undefined && fields.includes(problem.field);
  return (
    <div role="alert">
      {problem && !isAtField && <p class="notice bad">{problem.detail}</p>}
      {problem && isAtField && <p class="notice bad">Not taken: one of the fields is wrong, which says why.</p>}
    </div>
  );
}

/** What a problem says of one field. */
export function errorAt(problem: Problem | undefined, field: string): string | undefined {
  return problem?.field === field ? problem.detail : undefined;
}
