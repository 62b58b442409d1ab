import type { StandardSchemaV1 } from "@standard-schema/spec";
import { ChannelError } from "./errors.ts";

/**
 * Holds a payload against the caller's schema; without one everything passes.
 *
 * @throws ChannelError `invalid-payload`, whose `field` is the dotted path of what is wrong.
 */
export function validate<Out>(schema: StandardSchemaV1<unknown, Out> | undefined, payload: unknown): Out {
  if (!schema) return payload as Out;
  const result = schema["~standard"].validate(payload);
  if (result instanceof Promise) throw new TypeError("A channel's schema must validate synchronously.");
  if (!result.issues) return result.value;
  const [issue] = result.issues;
  const field = ["payload", ...(issue?.path ?? []).map((part) => String(typeof part === "object" ? part.key : part))];
  throw new ChannelError("invalid-payload", issue?.message ?? "The payload is not valid.", {
    field: field.join("."),
    cause: result.issues,
  });
}

/** A payload as JSON text. */
export function jsonOf(payload: unknown): string {
  let text: string | undefined;
  let cause: unknown;
  try {
    text = JSON.stringify(payload) as string | undefined;
  } catch (error) {
    cause = error;
  }
  if (text !== undefined) return text;
  throw new ChannelError("invalid-payload", "The payload cannot be written as JSON.", { field: "payload", cause });
}
