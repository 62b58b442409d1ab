import type { ChannelError } from "./errors.ts";
import type { Presence } from "./members.ts";
import type { Message, PrivateMessage, ServerFrame } from "./messages.ts";
import type { Resumed } from "./message-sequencer.ts";

/** `closed` is for good: by `close()`, or by a server that will not have this client. */
export type Status = "connecting" | "online" | "offline" | "closed";

export interface ChannelEvents<Payload = unknown> {
  /** Published by `POST /message`: each once, in the channel's order. */
  event: Message<Payload>;
  /** Sent by a client over its socket: each once, in the same order. */
  message: Message<Payload>;
  /** For this client alone, from another one. */
  private: PrivateMessage<Payload>;
  status: Status;
  /** The connection was lost and is back; all that could be had of what was missed has been delivered. */
  resumed: Resumed;
  presence: Presence;
  /** What was refused, but for what a promise tells: publishes, sends, history. The channel goes on. */
  error: ChannelError;
  /** Every frame as it came. */
  frame: ServerFrame;
}
