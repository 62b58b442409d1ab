import type { Fault } from "./errors.ts";

/** A message as it is stored, and passed between the log, D1 and sockets. `client` and `payload` are JSON texts. */
export interface StoredMessage {
  seq: number;
  /**
   * When it was stored, in milliseconds since the epoch, by the channel object's clock; never less than the previous
   * message's.
   */
  time: number;
  /** `event`: published over HTTP. `message`: sent by a client over its socket. */
  action: "event" | "message";
  /** The sender as JSON; null if an API-key client published it and named no sender. */
  client: string | null;
  /** The auth database to whose users it is restricted; null if every client may read it. */
  database: string | null;
  /** The application's name for its kind, null if the publisher gave none. */
  type: string | null;
  payload: string;
}

/** A client as others see it. Anonymous clients have `permissions {dbo_id: 0, row_id: 0}`. */
export interface Client {
  socketId: string;
  permissions: { dbo_id: number; row_id: number | string };
  extras: Record<string, unknown>;
  /** The state that a member has set (PRE7). Absent in messages, and if it has set none. */
  state?: Record<string, unknown> | undefined;
}

/**
 * Returns the frame of a stored message: the same live, in a replay and in history.
 *
 * @param id The id that the sender gave the message. Only the sender gets it (FRA6).
 */
export function messageFrame(channel: string, message: StoredMessage, id?: string): string {
  const { action, client, seq, time, type, payload } = message;
  const sender = client === null ? "" : `"client":${client},`;
  // A type needs no escapes.
  const more = (type === null ? "" : `,"type":"${type}"`) + (id === undefined ? "" : `,"id":${JSON.stringify(id)}`);
  const options = `{"channel":${JSON.stringify(channel)},"seq":${seq},"time":"${isoTime(time)}"${more}}`;
  return `{"action":"${action}",${sender}"options":${options},"payload":${payload}}`;
}

/** Returns the frames of messages as one JSON array, in order. */
export function messageFrames<M>(messages: readonly M[], frameOf: (message: M) => string): string {
  return `[${messages.map(frameOf).join(",")}]`;
}

/** The recipients of a message that is not for all subscribers. */
export type Recipient = { socketId: string } | { user: { dbo_id: number; row_id: number | string } };

/** A message that is delivered and not stored. `client` and `payload` are JSON texts. */
export interface UnstoredMessage extends Pick<StoredMessage, "action" | "client" | "type" | "payload"> {
  /** Its only recipients; undefined if it is ephemeral, for all subscribers. */
  to: Recipient | undefined;
}

/** Returns the frame of a private or ephemeral message. It has no `seq`. */
export function unstoredFrame(channel: string, { action, client, type, to, payload }: UnstoredMessage): string {
  const sender = client === null ? "" : `"client":${client},`;
  const options = JSON.stringify({ channel, ...(to ?? { ephemeral: true }), type: type ?? undefined });
  return `{"action":"${action}",${sender}"options":${options},"payload":${payload}}`;
}

/**
 * Returns the answer to a frame with an id that has no other answer.
 *
 * @param position The position of the stored message; null if nothing was stored.
 */
export function ackFrame(channel: string, id: string, position: { seq: number; time: number } | null): string {
  const stored = position && { seq: position.seq, time: isoTime(position.time) };
  return JSON.stringify({ action: "ack", options: { channel, id, ...stored } });
}

/**
 * Returns the answer to a `history`, or to a `join` that asked for history.
 *
 * @param seq The channel's last `seq`.
 * @param messages The frames of the latest messages as one JSON array, oldest first.
 * @param id The id of the `history` that it answers, if it had one.
 */
export function historyFrame(channel: string, seq: number, messages: string, id?: string): string {
  return `{"action":"history","options":${JSON.stringify({ channel, id, seq })},"payload":${messages}}`;
}

/** The result of a `join` with `after`. */
export interface Resume {
  /** Whether all missed messages follow now, before any new message. */
  resumed: boolean;
  /** The number of these frames. */
  replayed?: number;
  /**
   * Why the missed messages do not follow: the position is after the channel's last `seq`, too many messages were
   * missed, or the client may not read history.
   */
  reason?: "ahead" | "too-far-behind" | "no-history";
  /** The path of the history page with which to read the missed messages instead. */
  next?: string;
}

/** The contents of the answer to a `join`. */
export interface Joined extends Partial<Resume> {
  /** The id of the `join`, if it had one. */
  id?: string | undefined;
  /** The channel's last `seq` at the time of the join. Live messages have greater ones. */
  seq: number;
  /** Which of the requested features the client gets. */
  granted: { history: boolean; presence: boolean };
}

export function joinFrame(channel: string, client: Client, { granted, ...position }: Joined): string {
  return JSON.stringify({ action: "join", client, options: { channel, ...position }, payload: granted });
}

/** Returns the list of members of a channel, and their total. */
export function presenceFullFrame(channel: string, { presence, total }: Members): string {
  return JSON.stringify({ action: "presence_full", options: { channel, total }, payload: { presence } });
}

/** The changes of presence: a member joined, left, or changed its state. */
export type PresenceAction = "join" | "leave" | "update";

export function presenceUpdateFrame(channel: string, action: PresenceAction, presence: Client): string {
  return JSON.stringify({ action: "presence_update", options: { channel }, payload: { action, presence } });
}

export interface Members {
  presence: Client[];
  total: number;
}

export function leaveFrame(channel: string, id?: string): string {
  return JSON.stringify({ action: "leave", options: { channel, id }, payload: null });
}

/**
 * Returns a frame that makes Xano's client send a `join` for the channel. That `join` shows how far the client has
 * read. Xano's client normally creates this frame itself when it has connected.
 */
export function connectedFrame(channel: string): string {
  return JSON.stringify({ action: "connection_status", options: { channel }, payload: { status: "connected" } });
}

/**
 * @param channel The channel that the error is about, if known.
 * @param id The id of the frame that the error answers, if it had one.
 */
export function errorFrame(channel: string | undefined, { code, detail, ...more }: Fault, id?: string): string {
  return JSON.stringify({ action: "error", options: { channel, id }, payload: { code, message: detail, ...more } });
}

/**
 * Returns a time as RFC 3339 in UTC with milliseconds. Caches the last one, because the messages of a batch share their
 * time.
 */
export function isoTime(time: number): string {
  if (time !== latest.time) latest = { time, text: new Date(time).toISOString() };
  return latest.text;
}

let latest = { time: 0, text: "1970-01-01T00:00:00.000Z" };
