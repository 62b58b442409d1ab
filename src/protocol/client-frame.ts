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
    /** To this one client only; never stored. */
    socketId: v.optional(v.pipe(v.string("must be a string"), v.maxLength(64, "must have at most 64 characters"))),
    /** To authenticated clients only. */
    authenticated: v.optional(v.boolean("must be true or false"), false),
  }),
);
/** Clients of Xano Realtime ask a member for its history; as private messages are not stored, that is the channel's. */
const HistoryOptions = v.optional(fields({ channel: v.optional(ChannelName), socketId: v.optional(v.string()) }));
const JoinPayload = fields({
  history: v.optional(v.boolean("must be true or false"), false),
  presence: v.optional(v.boolean("must be true or false"), false),
});
const NoPayload = v.nullish(v.never("must be left out"));

/** A frame from a client. On a channel's own socket `options.channel` may be left out. */
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

/** A frame as it came off a socket, or what is wrong with it and the channel that it names all the same. */
export type ParsedFrame = { ok: true; value: ClientFrame } | { ok: false; fault: Fault; channel?: string | undefined };

/** Parses and validates what a client sent. */
export function parseFrame(data: string | ArrayBuffer): ParsedFrame {
  if (typeof data !== "string") return refuse("not-text", "Send JSON in a text frame.");
  const json = parseJson(data);
  if (!json.ok) return json;
  const frame = validate(ClientFrame, json.value, "frame");
  return frame.ok ? frame : { ...frame, channel: channelNamedBy(json.value) };
}

function channelNamedBy(frame: unknown): string | undefined {
  const options = (frame as { options?: { channel?: unknown } } | null)?.options;
  return typeof options?.channel === "string" ? options.channel : undefined;
}
