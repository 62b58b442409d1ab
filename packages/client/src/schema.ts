import type { StandardSchemaV1 } from "@standard-schema/spec";
import { ChannelError } from "./errors.ts";

/**
 * Validates a payload. Returns the value that the schema returns, or the payload itself if there is no schema.
 *
 * @throws ChannelError `invalid-payload`, whose `field` is the dotted path of the wrong part
 * @throws TypeError if the schema validates asynchronously
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

/**
 * Returns a payload as JSON text.
 *
 * @throws ChannelError `invalid-payload`
 */
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
