import type { Fault } from "./errors.ts";

/** A message as it is stored and carried between the log, D1 and the wire. Both texts are JSON already. */
export interface StoredMessage {
  seq: number;
  /** Milliseconds since the epoch, by the channel's own clock; never less than its predecessor's. */
  time: number;
  /** `event`: published over HTTP. `message`: sent by a client over its socket. */
  action: "event" | "message";
  /** Who sent it, as JSON; null if an API-key client published it and named no sender. */
  client: string | null;
  /** Null where everybody may see it; else only clients that this auth database authenticated. */
  database: string | null;
  payload: string;
}

/** Who is behind a socket. Anonymous clients have `permissions {dbo_id: 0, row_id: 0}`. */
export interface Client {
  socketId: string;
  permissions: { dbo_id: number; row_id: number | string };
  extras: Record<string, unknown>;
}

/** The text of one stored message, the same live, in a replay and in history. */
export function messageFrame(channel: string, { action, client, seq, time, payload }: StoredMessage): string {
  const who = client === null ? "" : `"client":${client},`;
  const options = `{"channel":${JSON.stringify(channel)},"seq":${seq},"time":"${isoTime(time)}"}`;
  return `{"action":"${action}",${who}"options":${options},"payload":${payload}}`;
}

/** The text of many stored messages as one JSON array, in order. */
export function messageFrames(channel: string, messages: readonly StoredMessage[]): string {
  return `[${messages.map((message) => messageFrame(channel, message)).join(",")}]`;
}

/**
 * Answers a client's `history`, or its `join` that asked for it: the latest messages, oldest first.
 *
 * @param seq The channel's last `seq`.
 */
export function historyFrame(channel: string, seq: number, messages: readonly StoredMessage[]): string {
  const options = JSON.stringify({ channel, seq });
  return `{"action":"history","options":${options},"payload":${messageFrames(channel, messages)}}`;
}

/** How a `join` with `after` went. */
export interface Resume {
  /** Whether all that was missed follows now, before anything new. */
  resumed: boolean;
  /** How many frames that is. */
  replayed?: number;
  /** Why not: the position is beyond the channel's last, too much was missed, or clients may read no history. */
  reason?: "ahead" | "too-far-behind" | "no-history";
  /** The path to read instead what was missed. */
  next?: string;
}

/** Answers a `join`. */
export interface Joined extends Partial<Resume> {
  /** The channel's last `seq` at the moment of joining: what comes live is numbered on from here. */
  seq: number;
  /** What was granted of what was asked for. */
  granted: { history: boolean; presence: boolean };
}

export function joinFrame(channel: string, client: Client, { granted, ...position }: Joined): string {
  return JSON.stringify({ action: "join", client, options: { channel, ...position }, payload: granted });
}

/** Carries a client's message to one other; it is not stored and has no `seq`. */
export function privateFrame(channel: string, client: Client, socketId: string, payload: string): string {
  const options = JSON.stringify({ channel, socketId });
  return `{"action":"message","client":${JSON.stringify(client)},"options":${options},"payload":${payload}}`;
}

/** Who is here: as many as one answer lists, and how many there are. */
export function presenceFullFrame(channel: string, { presence, total }: Members): string {
  return JSON.stringify({ action: "presence_full", options: { channel, total }, payload: { presence } });
}

/** Who came or went. */
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
 * Xano's client makes this frame for its own application when it has connected, and joins the channel in response. So if
 * the server sends it, that client's `join` shows how far the client has read.
 */
export function connectedFrame(channel: string): string {
  return JSON.stringify({ action: "connection_status", options: { channel }, payload: { status: "connected" } });
}

/** @param channel The channel that it concerns, where it is known. */
export function errorFrame(channel: string | undefined, { code, detail, ...more }: Fault): string {
  return JSON.stringify({ action: "error", options: { channel }, payload: { code, message: detail, ...more } });
}

/** RFC 3339 in UTC with milliseconds. The messages of a batch share their time, so its text is kept for the next. */
export function isoTime(time: number): string {
  if (time !== latest.time) latest = { time, text: new Date(time).toISOString() };
  return latest.text;
}

let latest = { time: 0, text: "1970-01-01T00:00:00.000Z" };
