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
  payload: string;
}

/** A client as others see it. Anonymous clients have `permissions {dbo_id: 0, row_id: 0}`. */
export interface Client {
  socketId: string;
  permissions: { dbo_id: number; row_id: number | string };
  extras: Record<string, unknown>;
}

/** Returns the frame of a stored message: the same live, in a replay and in history. */
export function messageFrame(channel: string, { action, client, seq, time, payload }: StoredMessage): string {
  const sender = client === null ? "" : `"client":${client},`;
  const options = `{"channel":${JSON.stringify(channel)},"seq":${seq},"time":"${isoTime(time)}"}`;
  return `{"action":"${action}",${sender}"options":${options},"payload":${payload}}`;
}

/** Returns the frames of stored messages as one JSON array, in order. */
export function messageFrames(channel: string, messages: readonly StoredMessage[]): string {
  return `[${messages.map((message) => messageFrame(channel, message)).join(",")}]`;
}

/**
 * Returns the answer to a `history`, or to a `join` that asked for history.
 *
 * @param seq The channel's last `seq`.
 * @param messages The latest messages, oldest first.
 */
export function historyFrame(channel: string, seq: number, messages: readonly StoredMessage[]): string {
  const options = JSON.stringify({ channel, seq });
  return `{"action":"history","options":${options},"payload":${messageFrames(channel, messages)}}`;
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
  /** The channel's last `seq` at the time of the join. Live messages have greater ones. */
  seq: number;
  /** Which of the requested features the client gets. */
  granted: { history: boolean; presence: boolean };
}

export function joinFrame(channel: string, client: Client, { granted, ...position }: Joined): string {
  return JSON.stringify({ action: "join", client, options: { channel, ...position }, payload: granted });
}

/** Returns a private message from one client to another. It is not stored and has no `seq`. */
export function privateFrame(channel: string, client: Client, socketId: string, payload: string): string {
  const options = JSON.stringify({ channel, socketId });
  return `{"action":"message","client":${JSON.stringify(client)},"options":${options},"payload":${payload}}`;
}

/** Returns the list of members of a channel, and their total. */
export function presenceFullFrame(channel: string, { presence, total }: Members): string {
  return JSON.stringify({ action: "presence_full", options: { channel, total }, payload: { presence } });
}

/** Returns a presence update: a member joined or left. */
export function presenceUpdateFrame(channel: string, action: "join" | "leave", presence: Client): string {
  return JSON.stringify({ action: "presence_update", options: { channel }, payload: { action, presence } });
}

export interface Members {
  presence: Client[];
  total: number;
}

export function leaveFrame(channel: string): string {
  return JSON.stringify({ action: "leave", options: { channel }, payload: null });
}

/**
 * Returns a frame that makes Xano's client send a `join` for the channel. That `join` shows how far the client has
 * read. Xano's client normally creates this frame itself when it has connected.
 */
export function connectedFrame(channel: string): string {
  return JSON.stringify({ action: "connection_status", options: { channel }, payload: { status: "connected" } });
}

/** @param channel The channel that the error is about, if known. */
export function errorFrame(channel: string | undefined, { code, detail, ...more }: Fault): string {
  return JSON.stringify({ action: "error", options: { channel }, payload: { code, message: detail, ...more } });
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
