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

/** The value, or a throw that becomes the answer. */
export function unwrap<T>(result: Result<T>): T {
  if (!result.ok) throw new FaultError(result.fault);
  return result.value;
}

/** The channel that the path names. */
export function channelOf(c: AppContext): string {
  return unwrap(validate(ChannelName, c.req.param("channel"), "channel"));
}

/** The object of a channel. */
export function stubOf(c: AppContext, channel: string): DurableObjectStub<ChannelObject> {
  return c.env.CHANNELS.getByName(channel);
}

const JSON_TYPE = /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i;

/** Reads and validates a JSON body, whose size the app has bounded. */
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

/** UTF-8 only (RFC 8259, section 8.1); what is not is refused, where a lenient decoder would alter it. */
function decode(bytes: ArrayBuffer): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new FaultError({ code: "invalid-json", detail: "The body is not UTF-8." });
  }
}
