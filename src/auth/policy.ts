import { type Result, refuse } from "../protocol/errors.ts";
import type { ChannelSettings } from "../protocol/schemas.ts";

/** Who is asking: the server side, by an API key, or a client that gave no credentials. */
export type Identity = { kind: "server" } | { kind: "anonymous" };

/** `publish`: POST a message. `subscribe`: hold a socket. `message`: send over it. `history`: read what was said. */
export type Action = "publish" | "subscribe" | "message" | "history";

/**
 * The one place that decides who may do what on a channel; every door asks it.
 *
 * @param settings The channel's settings, null where it has none: then it is closed to all but the server side.
 */
export function decide(who: Identity, action: Action, settings: ChannelSettings | null): Result<null> {
  if (who.kind === "server") return ALLOWED;
  if (settings === null) return refuse("unauthorized", "This channel has no settings; it admits only an API key.");
  if (!settings.anonymous_clients) return refuse("unauthorized", "This channel does not admit anonymous clients.");
  const { active, auth } = settings.public_messaging;
  switch (action) {
    case "subscribe":
      return ALLOWED;
    case "history":
      return settings.message_history > 0 ? ALLOWED : refuse("forbidden", "This channel shows its clients no history.");
    case "publish":
    case "message":
      if (!active) return refuse("forbidden", "This channel takes no messages from clients.");
      return auth ? refuse("unauthorized", "This channel takes messages from authenticated clients only.") : ALLOWED;
  }
}

const ALLOWED = { ok: true, value: null } as const;
