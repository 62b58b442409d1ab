import * as v from "valibot";
import type { Fault, Result } from "./errors.ts";

/**
 * Validates a value from a client. Returns it with defaults filled in, or the fault.
 *
 * @param root The name of the whole value, for errors that concern no single field: `body`, `frame`, `channel`.
 */
export function validate<const S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  root: string,
): Result<v.InferOutput<S>> {
  const parsed = v.safeParse(schema, value, { abortEarly: true });
  return parsed.success ? { ok: true, value: parsed.output } : { ok: false, fault: faultOf(parsed.issues[0], root) };
}

function faultOf(issue: v.BaseIssue<unknown>, root: string): Fault {
  const field = v.getDotPath(issue) ?? root;
  const limit = "requirement" in issue && typeof issue.requirement === "number" ? { limit: issue.requirement } : {};
  return { code: "invalid-field", detail: `${field} ${reasonOf(issue)}.`, field, ...limit };
}

function reasonOf({ type, expected, received, message }: v.BaseIssue<unknown>): string {
  if (received === "undefined") return "is required";
  if (type !== "strict_object") return message;
  return expected === "never" ? "is not a known field" : "must be an object";
}
