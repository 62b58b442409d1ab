import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Problem } from "./api.ts";

interface FieldProps {
  label: string;
  hint?: string;
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
      {problem && !isAtField && <p class="notice bad">{problem.detail ?? problem.title}</p>}
      {problem && isAtField && <p class="notice bad">Not taken: one of the fields is wrong, which says why.</p>}
    </div>
  );
}

/** What a problem says of one field. */
export function errorAt(problem: Problem | undefined, field: string): string | undefined {
  return problem?.field === field ? (problem.detail ?? problem.title) : undefined;
}
