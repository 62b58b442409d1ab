import { type Result, refuse } from "../protocol/errors.ts";
import type { ChannelSettings } from "../protocol/channel-settings.ts";

/** A client with a valid token. */
export interface User {
  kind: "user";
  /** The auth database of the token: its name, and its number. */
  database: string;
  dbo_id: number;
  row_id: number | string;
  extras: Record<string, unknown>;
  /** When its token expires, in milliseconds since the epoch. */
  expires: number;
  /** When its token was issued, in milliseconds since the epoch, if the token says so. */
  issued?: number | undefined;
}

/** The identity of a caller: an API-key client (`server`), a user with a token, or an anonymous client. */
export type Identity = { kind: "server" } | User | { kind: "anonymous" };

export type Action =
  /** Open a socket, and join. */
  | "subscribe"
  /** Receive messages live. */
  | "receive"
  /** Read history. */
  | "history"
  /** See the members. */
  | "presence"
  /** Publish a message over HTTP. */
  | "publish"
  /** Send a message over a socket, to the channel. */
  | "message"
  /** Publish or send a message to authenticated clients only. */
  | "message-authenticated"
  /** Send a private message to one client. */
  | "message-private";

/**
 * Decides whether an identity may do an action. Every endpoint uses this function, and no other code decides.
 *
 * @param settings The settings that hold for the channel, null if none hold: then it admits only API-key clients.
 */
export function authorize(who: Identity, action: Action, settings: ChannelSettings | null): Result<null> {
  if (who.kind === "server") return ALLOWED;
  if (settings === null)
    return refuse(
      "unauthorized",
      "This channel has no settings, so it admits only API-key clients. Send an API key, or store settings for the channel.",
    );
  if (!settings.active)
    return refuse("forbidden", "This channel is not active. Set active to true in its settings to open it.");
  if (who.kind === "anonymous" && !settings.anonymous_clients) {
    return refuse(
      "unauthorized",
      "This channel admits only authenticated clients. Send a token of its auth database, or an API key.",
    );
  }
  if (who.kind === "user" && who.database !== settings.database) {
    return refuse(
      "forbidden",
      "The token's database is not the auth database of this channel. Send a token of the channel's auth database.",
    );
  }
  return authorizeAction(who.kind === "user", action, settings);
}

/**
 * Decides whether a caller may publish a message over HTTP.
 *
 * @param database The auth database to whose users the message is restricted, null if it is for every client.
 */
export function authorizePublish(
  who: Identity,
  database: string | null,
  settings: ChannelSettings | null,
): Result<null> {
  const allowed = authorize(who, database === null ? "publish" : "message-authenticated", settings);
  if (!allowed.ok || database === null || database === settings?.database) return allowed;
  return refuse(
    "forbidden",
    `The channel's auth database is not ${database}. Name the channel's auth database, or leave database out.`,
    { field: "database" },
  );
}

function authorizeAction(authenticated: boolean, action: Action, settings: ChannelSettings): Result<null> {
  const hidden = settings.auth_channel && !authenticated;
  switch (action) {
    case "subscribe":
      return ALLOWED;
    case "receive":
      return hidden ? ONLY_AUTHENTICATED : ALLOWED;
    case "history":
      if (hidden) return ONLY_AUTHENTICATED;
      return settings.message_history > 0
        ? ALLOWED
        : refuse(
            "forbidden",
            "This channel does not allow clients to read history. Set message_history in its settings.",
          );
    case "presence":
      if (hidden) return ONLY_AUTHENTICATED;
      return settings.presence
        ? ALLOWED
        : refuse("forbidden", "This channel does not allow clients to see presence. Set presence in its settings.");
    case "publish":
    case "message":
      return authorizeMessaging(authenticated, settings, "public_messaging");
    case "message-authenticated":
      return authenticated ? authorizeMessaging(true, settings, "public_messaging") : ONLY_AUTHENTICATED;
    case "message-private":
      return authorizeMessaging(authenticated, settings, "private_messaging");
  }
}

function authorizeMessaging(
  authenticated: boolean,
  settings: ChannelSettings,
  kind: "public_messaging" | "private_messaging",
): Result<null> {
  const { active, auth } = settings[kind];
  if (!active) {
    const detail = `This channel does not allow clients to send this kind of message. Set ${kind}.active in its settings.`;
    return refuse("forbidden", detail);
  }
  return auth && !authenticated ? ONLY_AUTHENTICATED : ALLOWED;
}

/**
 * Returns whether an identity may read a message, live and in history. `database` restricts the message to users of
 * that auth database.
 */
export function mayRead(who: Identity, message: { database: string | null }): boolean {
  if (who.kind === "server" || message.database === null) return true;
  return who.kind === "user" && who.database === message.database;
}

const ALLOWED = { ok: true, value: null } as const;
const ONLY_AUTHENTICATED = refuse(
  "unauthorized",
  "On this channel, only authenticated clients may do this. Send a token of its auth database, or an API key.",
);
