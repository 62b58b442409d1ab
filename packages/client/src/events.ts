import type { ChannelError } from "./errors.ts";
import type { Presence } from "./members.ts";
import type { EphemeralMessage, Message, PrivateMessage, ServerFrame } from "./messages.ts";
import type { Resumed } from "./message-sequencer.ts";

/** `closed` is final: you called `close()`, or the server refused this client for good. */
export type Status = "connecting" | "online" | "offline" | "closed";

export interface ChannelEvents<Payload = unknown> {
  /** Each published message, once, in the order of `seq`. */
  event: Message<Payload>;
  /** Each message that a client sent over its socket, once, in the order of `seq`. */
  message: Message<Payload>;
  /** Each private message, which was sent to this client or its user only. */
  private: PrivateMessage<Payload>;
  /** Each message that is delivered, but not stored. */
  ephemeral: EphemeralMessage<Payload>;
  /** Each change of `status`. */
  status: Status;
  /** The channel has reconnected, and all missed messages that are available have been delivered. */
  resumed: Resumed;
  /** Each change of the members. Requires the option `presence`. */
  presence: Presence;
  /** Each error that no promise reports (`publish`, `send` and `history` reject theirs). The channel stays open. */
  error: ChannelError;
  /** Every frame, as the server sent it. */
  frame: ServerFrame;
}

/** The kinds of events that carry a message. `on` can filter them by the message's type. */
export type MessageKind = "event" | "message" | "private" | "ephemeral";
