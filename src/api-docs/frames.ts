import * as v from "valibot";
import type { ErrorCode } from "../protocol/errors.ts";
import { ChannelName, FrameId, MessageType } from "../protocol/values.ts";
import { ClientInfo, faultFields, Presence, Seq, StoredFrame, Time } from "./answers.ts";

/** The schemas of the server's frames. src/protocol/frames.ts builds their texts. */

const { action: _, client: __, ...stored } = StoredFrame.entries;
const onChannel = v.strictObject({ channel: ChannelName });
const answerOn = { channel: ChannelName, id: v.optional(FrameId) };

export const EventFrame = v.strictObject({ action: v.literal("event"), client: v.optional(ClientInfo), ...stored });

export const MessageFrame = v.strictObject({ action: v.literal("message"), client: ClientInfo, ...stored });

const unstored = { action: v.picklist(["event", "message"]), client: v.optional(ClientInfo), payload: v.unknown() };

export const PrivateFrame = v.strictObject({
  ...unstored,
  options: v.strictObject({
    channel: ChannelName,
    socketId: v.optional(v.string()),
    user: v.optional(ClientInfo.entries.permissions),
    type: v.optional(MessageType),
  }),
});

export const EphemeralFrame = v.strictObject({
  ...unstored,
  options: v.strictObject({ channel: ChannelName, ephemeral: v.literal(true), type: v.optional(MessageType) }),
});

export const AckFrame = v.strictObject({
  action: v.literal("ack"),
  options: v.strictObject({ channel: ChannelName, id: FrameId, seq: v.optional(Seq), time: v.optional(Time) }),
});

export const HistoryFrame = v.strictObject({
  action: v.literal("history"),
  options: v.strictObject({ ...answerOn, seq: Seq }),
  payload: v.array(StoredFrame),
});

export const JoinedFrame = v.strictObject({
  action: v.literal("join"),
  client: ClientInfo,
  options: v.strictObject({
    ...answerOn,
    seq: Seq,
    resumed: v.optional(v.boolean()),
    replayed: v.optional(Seq),
    reason: v.optional(v.picklist(["ahead", "too-far-behind", "no-history"])),
    next: v.optional(v.string()),
  }),
  payload: v.strictObject({ history: v.boolean(), presence: v.boolean() }),
});

export const LeftFrame = v.strictObject({
  action: v.literal("leave"),
  options: v.strictObject(answerOn),
  payload: v.null(),
});

export const PresenceFullFrame = v.strictObject({
  action: v.literal("presence_full"),
  options: v.strictObject({ channel: ChannelName, total: v.number() }),
  payload: v.strictObject({ presence: Presence.entries.presence }),
});

export const PresenceUpdateFrame = v.strictObject({
  action: v.literal("presence_update"),
  options: onChannel,
  payload: v.strictObject({ action: v.picklist(["join", "leave", "update"]), presence: ClientInfo }),
});

export const ConnectionStatusFrame = v.strictObject({
  action: v.literal("connection_status"),
  options: onChannel,
  payload: v.strictObject({ status: v.literal("connected") }),
});

/** The error codes of `error` frames. Errors of the upgrade request are HTTP responses. */
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
  "key-reused",
  "keys-full",
  "backlog-full",
  "unavailable",
  "internal",
] as const satisfies readonly ErrorCode[];

export const ErrorFrame = v.strictObject({
  action: v.literal("error"),
  options: v.strictObject({ channel: v.optional(v.string()), id: v.optional(FrameId) }),
  payload: v.strictObject({
    code: v.picklist(FRAME_ERRORS),
    message: v.string(),
    ...faultFields,
  }),
});
