import { type Result, refuse } from "../protocol/errors.ts";
import type { ChannelSettings } from "../protocol/schemas.ts";

/** A client that proved by a token who it is. */
export interface User {
  kind: "user";
  /** The auth database that the token is of, by name and by number. */
  database: string;
  dbo_id: number;
  row_id: number | string;
  extras: Record<string, unknown>;
  /** When its token expires, in milliseconds since the epoch. */
  expires: number;
  /** When its token was issued, in milliseconds since the epoch, if the token says so. */
  issued?: number | undefined;
}

/** Who is asking: the server side, by an API key; a user, by a token; or anybody, without credentials. */
export type Identity = { kind: "server" } | User | { kind: "anonymous" };

export type Action =
  /** Hold a socket, and join. */
  | "subscribe"
  /** Get messages live. */
  | "receive"
  /** Read what was said. */
  | "history"
  /** See who is here. */
  | "presence"
  /** POST a message. */
  | "publish"
  /** Send one over a socket, to all. */
  | "message"
  /** Send one, by either way, to authenticated clients only. */
  | "message-authenticated"
  /** Send one to one client. */
  | "message-private";

/**
 * The one place that decides who may do what on a channel; every door asks it.
 *
 * @param settings The settings that hold for the channel, null where none do: then it admits only the server side.
 */
export function decide(who: Identity, action: Action, settings: ChannelSettings | null): Result<null> {
  if (who.kind === "server") return ALLOWED;
  if (settings === null) return refuse("unauthorized", "No settings hold for this channel; it admits only an API key.");
  if (!settings.active) return refuse("forbidden", "This channel is not active.");
  if (who.kind === "anonymous" && !settings.anonymous_clients) {
    return refuse("unauthorized", "This channel admits only authenticated clients.");
  }
  if (who.kind === "user" && who.database !== settings.database) {
    return refuse("forbidden", "This channel does not admit the users of the token's database.");
  }
  return decideAction(who.kind === "user", action, settings);
}

/**
 * Decides whether a caller may publish a message.
 *
 * @param database The auth database to whose users the message is restricted, null if it is for all.
 */
export function decidePublish(who: Identity, database: string | null, settings: ChannelSettings | null): Result<null> {
  const allowed = decide(who, database === null ? "publish" : "message-authenticated", settings);
  if (!allowed.ok || database === null || database === settings?.database) return allowed;
  return refuse("forbidden", "This is not the auth database of the channel.", { field: "database" });
}

function decideAction(authenticated: boolean, action: Action, settings: ChannelSettings): Result<null> {
  const hidden = settings.auth_channel && !authenticated;
  switch (action) {
    case "subscribe":
      return ALLOWED;
    case "receive":
      return hidden ? ONLY_AUTHENTICATED : ALLOWED;
    case "history":
      if (hidden) return ONLY_AUTHENTICATED;
      return settings.message_history > 0 ? ALLOWED : refuse("forbidden", "This channel shows its clients no history.");
    case "presence":
      if (hidden) return ONLY_AUTHENTICATED;
      return settings.presence ? ALLOWED : refuse("forbidden", "This channel does not show who is here.");
    case "publish":
    case "message":
      return decideMessaging(authenticated, settings.public_messaging);
    case "message-authenticated":
      return authenticated ? decideMessaging(true, settings.public_messaging) : ONLY_AUTHENTICATED;
    case "message-private":
      return decideMessaging(authenticated, settings.private_messaging);
  }
}

function decideMessaging(authenticated: boolean, { active, auth }: { active: boolean; auth: boolean }): Result<null> {
  if (!active) return refuse("forbidden", "This channel takes no such messages from clients.");
  return auth && !authenticated ? ONLY_AUTHENTICATED : ALLOWED;
}

/** Whether a message that may be restricted to a database's users may be seen, live and in history alike. */
export function mayRead(who: Identity, message: { database: string | null }): boolean {
  if (who.kind === "server" || message.database === null) return true;
  return who.kind === "user" && who.database === message.database;
}

const ALLOWED = { ok: true, value: null } as const;
const ONLY_AUTHENTICATED = refuse("unauthorized", "On this channel that is for authenticated clients only.");
