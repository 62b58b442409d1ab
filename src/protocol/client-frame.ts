import * as v from "valibot";
import { deliverable, Sender } from "./delivery.ts";
import { type Fault, refuse, type Result } from "./errors.ts";
import { jsonFault, parseText } from "./json.ts";
import { MAX_ARRAY_BYTES, MAX_ARRAY_FRAMES, MAX_BODY_BYTES } from "./limits.ts";
import { validate } from "./validate.ts";
import { ChannelName, DatabaseName, fields, FrameId, Json, JsonObject, Position } from "./values.ts";

const COMMON = { channel: v.optional(ChannelName), id: v.optional(FrameId) };
const Options = v.optional(fields(COMMON));
const JoinOptions = v.optional(fields({ ...COMMON, after: v.optional(Position) }));
const MessageOptions = v.optional(
  deliverable({
    ...COMMON,
    /** Whether the message is for authenticated clients only. */
    authenticated: v.optional(v.boolean("must be true or false"), false),
  }),
);
const EventOptions = v.optional(
  deliverable({ ...COMMON, database: v.optional(DatabaseName), sender: v.optional(Sender) }),
);
/**
 * Xano Realtime's clients can request the history of a member. Private messages are not stored, so they get the
 * channel's history.
 */
const HistoryOptions = v.optional(fields({ ...COMMON, socketId: v.optional(v.string()) }));
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
    v.strictObject({ action: v.literal("presence"), options: Options, payload: JsonObject }),
    v.strictObject({ action: v.literal("event"), options: EventOptions, payload: Json }),
  ],
  "must be one of join, leave, message, history, presence, event",
);
export type ClientFrame = v.InferOutput<typeof ClientFrame>;

/** What a frame that is refused says about itself, as far as it is known. The error repeats it. */
export interface FrameOrigin {
  channel?: string | undefined;
  id?: string | undefined;
}

/** The result of parsing a frame. */
export type ParsedFrame = { ok: true; value: ClientFrame } | { ok: false; fault: Fault; origin?: FrameOrigin };

/** Parses and validates a text from a client: one frame, or an array of frames. Returns at least one result. */
export function parseFrames(data: string | ArrayBuffer): ParsedFrame[] {
  if (typeof data !== "string")
    return [refuse("not-text", "Frames must be text, but this one is binary. Send JSON in a text message.")];
  const isArray = isArrayText(data);
  const json = parseText(data, isArray ? MAX_ARRAY_BYTES : MAX_BODY_BYTES);
  if (!json.ok) return [json];
  if (!isArray) return [parsed(json.value)];
  const frames = json.value as unknown[];
  return frames.length >= 1 && frames.length <= MAX_ARRAY_FRAMES ? frames.map(parsed) : [WRONG_COUNT];
}

/** Returns the id of a frame, undefined if it has none. */
export function idOf(frame: ParsedFrame): string | undefined {
  return frame.ok ? frame.value.options?.id : frame.origin?.id;
}

/** Returns the ids of the frames in a text, without validating anything else. */
export function idsIn(data: string | ArrayBuffer): string[] {
  const json = typeof data === "string" ? parseText(data, MAX_ARRAY_BYTES) : undefined;
  if (!json?.ok) return [];
  const frames = Array.isArray(json.value) ? json.value.slice(0, MAX_ARRAY_FRAMES) : [json.value];
  return frames.flatMap((frame) => originOf(frame).id ?? []);
}

/** Returns the length of an array of frames in UTF-16 units, 0 for any other message. */
export function arrayLength(data: string | ArrayBuffer): number {
  return typeof data === "string" && isArrayText(data) ? data.length : 0;
}

/** Whether a text from a client is an array of frames, if it is JSON. */
export function isArrayText(data: string | ArrayBuffer): boolean {
  return typeof data === "string" && BEGINS_ARRAY.test(data);
}

const BEGINS_ARRAY = /^[ \t\r\n]*\[/;

const WRONG_COUNT = refuse("invalid-field", `An array of frames must have 1 to ${MAX_ARRAY_FRAMES} frames. Split it.`, {
  field: "frame",
  limit: MAX_ARRAY_FRAMES,
});

function parsed(json: unknown): ParsedFrame {
  const frame: Result<ClientFrame> = jsonFault(json) ?? validate(ClientFrame, json, "frame");
  return frame.ok ? frame : { ...frame, origin: originOf(json) };
}

function originOf(frame: unknown): FrameOrigin {
  const { channel, id } = (frame as { options?: { channel?: unknown; id?: unknown } } | null)?.options ?? {};
  return {
    channel: typeof channel === "string" ? channel : undefined,
    id: v.is(FrameId, id) ? id : undefined,
  };
}
