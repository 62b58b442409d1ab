import * as v from "valibot";
import { type Fault, refuse } from "./errors.ts";
import { parseJson } from "./json.ts";
import { validate } from "./validate.ts";
import { ChannelName, fields, Json, Position } from "./values.ts";

const Options = v.optional(fields({ channel: v.optional(ChannelName) }));
const JoinOptions = v.optional(fields({ channel: v.optional(ChannelName), after: v.optional(Position) }));
const MessageOptions = v.optional(
  fields({
    channel: v.optional(ChannelName),
    /** The only recipient. The message is then not stored. */
    socketId: v.optional(v.pipe(v.string("must be a string"), v.maxLength(64, "must have at most 64 characters"))),
    /** Whether the message is for authenticated clients only. */
    authenticated: v.optional(v.boolean("must be true or false"), false),
  }),
);
/**
 * Xano Realtime's clients can request the history of a member. Private messages are not stored, so they get the
 * channel's history.
 */
const HistoryOptions = v.optional(fields({ channel: v.optional(ChannelName), socketId: v.optional(v.string()) }));
const JoinPayload = fields({
  history: v.optional(v.boolean("must be true or false"), false),
  presence: v.optional(v.boolean("must be true or false"), false),
});
const NoPayload = v.nullish(v.never("must be left out"));

/** A frame from a client. On a channel's own socket, `options.channel` is optional. */
export const ClientFrame = v.variant(
  "action",
  [
    v.strictObject({ action: v.literal("join"), options: JoinOptions, payload: v.nullish(JoinPayload) }),
    v.strictObject({ action: v.literal("leave"), options: Options, payload: NoPayload }),
    v.strictObject({ action: v.literal("message"), options: MessageOptions, payload: Json }),
    v.strictObject({ action: v.literal("history"), options: HistoryOptions, payload: NoPayload }),
  ],
  "must be one of join, leave, message, history",
);
export type ClientFrame = v.InferOutput<typeof ClientFrame>;

/** The result of parsing a frame. A fault includes the channel that the frame names, if any. */
export type ParsedFrame = { ok: true; value: ClientFrame } | { ok: false; fault: Fault; channel?: string | undefined };

/** Parses and validates a client's frame. */
export function parseFrame(data: string | ArrayBuffer): ParsedFrame {
  if (typeof data !== "string")
    return refuse("not-text", "Frames must be text, but this one is binary. Send JSON in a text message.");
  const json = parseJson(data);
  if (!json.ok) return json;
  const frame = validate(ClientFrame, json.value, "frame");
  return frame.ok ? frame : { ...frame, channel: channelNamedBy(json.value) };
}

function channelNamedBy(frame: unknown): string | undefined {
  const options = (frame as { options?: { channel?: unknown } } | null)?.options;
  return typeof options?.channel === "string" ? options.channel : undefined;
}
