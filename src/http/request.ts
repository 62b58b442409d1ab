import type { Context } from "hono";
import type { GenericSchema, InferOutput } from "valibot";
import type { ChannelObject } from "../channel/channel-object.ts";
import type { Env } from "../env.ts";
import { FaultError, type Result } from "../protocol/errors.ts";
import { parseJson } from "../protocol/json.ts";
import { MAX_BODY_BYTES } from "../protocol/limits.ts";
import { validate } from "../protocol/validate.ts";
import { ChannelName } from "../protocol/values.ts";

export type AppContext = Context<{ Bindings: Env }>;

/** Returns the value of a result. Throws a `FaultError` if there is none, which becomes the response. */
export function unwrap<T>(result: Result<T>): T {
  if (!result.ok) throw new FaultError(result.fault);
  return result.value;
}

/** Returns the channel in the path. Throws `invalid-field` if the name is not valid. */
export function channelOf(c: AppContext): string {
  return unwrap(validate(ChannelName, c.req.param("channel"), "channel"));
}

/** Returns a stub of a channel's object. */
export function stubOf(c: AppContext, channel: string): DurableObjectStub<ChannelObject> {
  return c.env.CHANNELS.getByName(channel);
}

const JSON_TYPE = /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i;

/**
 * Reads and validates a JSON body. Throws the refusal if the content type, the text or a field is wrong. app.ts has
 * limited the body's size.
 */
export async function jsonBody<const S extends GenericSchema>(
  c: AppContext,
  schema: S,
  maxBytes = MAX_BODY_BYTES,
): Promise<InferOutput<S>> {
  if (!JSON_TYPE.test(c.req.header("Content-Type") ?? "")) {
    throw new FaultError({
      code: "unsupported-media-type",
      detail: "Send the body as JSON, with the header Content-Type: application/json.",
      field: "Content-Type",
    });
  }
  const json = unwrap(parseJson(decode(await c.req.arrayBuffer()), maxBytes));
  return unwrap(validate(schema, json, "body"));
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

/**
 * Returns a body's text. Throws `invalid-json` if it is not UTF-8 (RFC 8259, section 8.1), which a lenient decoder
 * would silently change.
 */
function decode(bytes: ArrayBuffer): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new FaultError({ code: "invalid-json", detail: "The body is not valid UTF-8. Encode it as UTF-8." });
  }
}
