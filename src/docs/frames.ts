import * as v from "valibot";
import type { ErrorCode } from "../protocol/errors.ts";
import { ChannelName } from "../protocol/schemas.ts";
import { ClientInfo, faultFields, Presence, Seq, StoredFrame } from "./answers.ts";

/** What the server says over a socket; src/protocol/frames.ts makes these texts. */

const { action: _, client: __, ...stored } = StoredFrame.entries;
const onChannel = v.strictObject({ channel: ChannelName });

export const EventFrame = v.strictObject({ action: v.literal("event"), client: v.optional(ClientInfo), ...stored });

export const MessageFrame = v.strictObject({ action: v.literal("message"), client: ClientInfo, ...stored });

export const PrivateFrame = v.strictObject({
  action: v.literal("message"),
  client: ClientInfo,
  options: v.strictObject({ channel: ChannelName, socketId: v.string() }),
  payload: v.unknown(),
});

export const HistoryFrame = v.strictObject({
  action: v.literal("history"),
  options: v.strictObject({ channel: ChannelName, seq: Seq }),
  payload: v.array(StoredFrame),
});

export const JoinedFrame = v.strictObject({
  action: v.literal("join"),
  client: ClientInfo,
  options: v.strictObject({
    channel: ChannelName,
    seq: Seq,
    resumed: v.optional(v.boolean()),
    replayed: v.optional(Seq),
    reason: v.optional(v.picklist(["ahead", "too-far-behind", "no-history"])),
    next: v.optional(v.string()),
  }),
  payload: v.strictObject({ history: v.boolean(), presence: v.boolean() }),
});

export const LeftFrame = v.strictObject({ action: v.literal("leave"), options: onChannel, payload: v.null() });

export const PresenceFullFrame = v.strictObject({
  action: v.literal("presence_full"),
  options: v.strictObject({ channel: ChannelName, total: v.number() }),
  payload: v.strictObject({ presence: Presence.entries.presence }),
});

export const PresenceUpdateFrame = v.strictObject({
  action: v.literal("presence_update"),
  options: onChannel,
  payload: v.strictObject({ action: v.picklist(["join", "leave"]), presence: ClientInfo }),
});

export const ConnectionStatusFrame = v.strictObject({
  action: v.literal("connection_status"),
  options: onChannel,
  payload: v.strictObject({ status: v.literal("connected") }),
});

/** The errors that a socket may be told. Those of its opening are an HTTP answer's. */
export const FRAME_ERRORS = [
  "invalid-json",
  "invalid-field",
  "invalid-number",
  "too-deep",
  "too-large",
  "not-text",
  "unauthorized",
  "forbidden",
  "rate-limited",
  "quota-exceeded",
  "unknown-recipient",
  "not-joined",
  "too-many-channels",
  "too-many-sockets",
  "backlog-full",
  "unavailable",
  "internal",
] as const satisfies readonly ErrorCode[];

export const ErrorFrame = v.strictObject({
  action: v.literal("error"),
  options: v.strictObject({ channel: v.optional(v.string()) }),
  payload: v.strictObject({
    code: v.picklist(FRAME_ERRORS),
    message: v.string(),
    ...faultFields,
  }),
});
