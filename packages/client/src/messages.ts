import type { ErrorCode } from "../../../src/protocol/errors.ts";
import type { Client } from "../../../src/protocol/frames.ts";

/** A stored message, as the server sends it (PROTOCOL.md, FRA1). */
export interface Message<Payload = unknown> {
  /** `event`: published over HTTP. `message`: sent by a client over its socket. */
  action: "event" | "message";
  /** The sender, if it is known. */
  client?: Client;
  options: { channel: string; seq: number; time: string };
  payload: Payload;
}

/** A message for this client only. It is not stored and has no `seq` (FRA5). */
export interface PrivateMessage<Payload = unknown> {
  action: "message";
  client: Client;
  options: { channel: string; socketId: string };
  payload: Payload;
}

/** A message's position in its channel, and when it was stored. */
export interface Position {
  seq: number;
  /** RFC 3339, UTC. */
  time: string;
}

/** The answer to a join: the channel's last `seq`, this client's identity, and how the client resumes (JOI2, RES). */
export interface JoinFrame {
  action: "join";
  client: Client;
  options: {
    channel: string;
    seq: number;
    resumed?: boolean;
    replayed?: number;
    reason?: "ahead" | "too-far-behind" | "no-history";
    next?: string;
  };
  payload: { history: boolean; presence: boolean };
}

/** Every frame that the server sends. Answers to heartbeats are plain text, not frames. */
export type ServerFrame =
  | Message
  | PrivateMessage
  | JoinFrame
  | { action: "leave"; options: { channel: string }; payload: null }
  | { action: "history"; options: { channel: string; seq: number }; payload: Message[] }
  | { action: "presence_full"; options: { channel: string; total: number }; payload: { presence: Client[] } }
  | {
      action: "presence_update";
      options: { channel: string };
      payload: { action: "join" | "leave"; presence: Client };
    }
  | { action: "error"; options: { channel?: string }; payload: ErrorPayload };

/** The payload of an `error` frame (ERR2). */
export interface ErrorPayload {
  code: ErrorCode;
  message: string;
  field?: string;
  limit?: number;
  retryAfter?: number;
}
