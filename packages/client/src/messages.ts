import type { ErrorCode } from "../../../src/protocol/errors.ts";
import type { Client } from "../../../src/protocol/frames.ts";
import type { Member } from "./members.ts";

/** A stored message, as the server sends it (PROTOCOL.md, FRA1). */
export interface Message<Payload = unknown> {
  /** `event`: published over HTTP. `message`: sent by a client over its socket. */
  action: "event" | "message";
  /** The sender, if it is known. */
  client?: Client;
  options: {
    channel: string;
    seq: number;
    time: string;
    /** The application's name for the message. */
    type?: string;
    /** The id that this client chose. Only the sender's own sockets receive it. */
    id?: string;
  };
  payload: Payload;
}

/** A message for this client or its user only. It is not stored and has no `seq` (FRA5). */
export interface PrivateMessage<Payload = unknown> {
  action: "event" | "message";
  /** The sender. Undefined for a message from an API-key client that names no sender. */
  client?: Client;
  options: { channel: string; socketId?: string; user?: UserRef; type?: string; ephemeral?: true };
  payload: Payload;
}

/** A message that is delivered, but not stored. It has no `seq`. */
export interface EphemeralMessage<Payload = unknown> {
  action: "event" | "message";
  client?: Client;
  options: { channel: string; ephemeral: true; type?: string };
  payload: Payload;
}

/** A user of an auth database, as in `permissions`. */
export interface UserRef {
  dbo_id: number;
  row_id: number | string;
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
  | EphemeralMessage
  | JoinFrame
  | { action: "ack"; options: { channel: string; id: string; seq?: number; time?: string }; payload?: undefined }
  | { action: "leave"; options: { channel: string }; payload: null }
  | { action: "history"; options: { channel: string; seq: number }; payload: Message[] }
  | { action: "presence_full"; options: { channel: string; total: number }; payload: { presence: Member[] } }
  | {
      action: "presence_update";
      options: { channel: string };
      payload: { action: "join" | "leave" | "update"; presence: Member };
    }
  | { action: "error"; options: { channel?: string; id?: string }; payload: ErrorPayload };

/** The payload of an `error` frame (ERR2). */
export interface ErrorPayload {
  code: ErrorCode;
  message: string;
  field?: string;
  limit?: number;
  retryAfter?: number;
}
