/**
 * Who may do what, written from docs/permissions.md alone: its table, its prose and its list of settings. It shares no code
 * with the server, so that a mistake there is not repeated here. permissions.test.ts proves that it agrees with the table.
 */

export const ACTIONS = [
  "subscribe",
  "receive",
  "history",
  "presence",
  "publish",
  "message",
  "message-authenticated",
  "message-private",
] as const;
export type Action = (typeof ACTIONS)[number];

/** A caller, after its credentials were accepted. A user was authenticated by `database`. */
export type Caller = { kind: "server side" } | { kind: "user"; database: string } | { kind: "anybody" };

/** A channel's settings, each with a value. */
export interface Settings {
  active: boolean;
  description: string;
  anonymous_clients: boolean;
  presence: boolean;
  message_history: number;
  public_messaging: { active: boolean; auth: boolean };
  private_messaging: { active: boolean; auth: boolean };
  nested_channels: boolean;
  auth_channel: boolean;
  database: string | null;
}

export const DEFAULTS: Settings = {
  active: true,
  description: "",
  anonymous_clients: false,
  presence: false,
  message_history: 0,
  public_messaging: { active: false, auth: false },
  private_messaging: { active: false, auth: false },
  nested_channels: false,
  auth_channel: false,
  database: null,
};

export type Refusal = "unauthorized" | "forbidden";

/**
 * Returns the codes with which an action may be refused; none if it is allowed. There are two codes if two settings refuse the
 * action with different ones: the page does not say which setting is looked at first.
 */
export function refusalsOf(caller: Caller, action: Action, settings: Settings | null): Refusal[] {
  if (caller.kind === "server side") return [];
  if (settings === null) return ["unauthorized"];
  // The table: an inactive channel refuses every action with this code, also those that another setting refuses.
  if (!settings.active) return ["forbidden"];
  const isAnonymous = caller.kind === "anybody";
  const reasons = new Set<Refusal>();
  const refuseIf = (condition: boolean, refusal: Refusal) => void (condition && reasons.add(refusal));

  refuseIf(isAnonymous && !settings.anonymous_clients, "unauthorized");
  refuseIf(caller.kind === "user" && caller.database !== settings.database, "forbidden");
  switch (action) {
    case "subscribe":
      break;
    case "receive":
      refuseIf(settings.auth_channel && isAnonymous, "unauthorized");
      break;
    case "history":
      refuseIf(settings.message_history === 0, "forbidden");
      refuseIf(settings.auth_channel && isAnonymous, "unauthorized");
      break;
    case "presence":
      refuseIf(!settings.presence, "forbidden");
      refuseIf(settings.auth_channel && isAnonymous, "unauthorized");
      break;
    case "publish":
    case "message":
      refuseIf(!settings.public_messaging.active, "forbidden");
      refuseIf(settings.public_messaging.auth && isAnonymous, "unauthorized");
      break;
    case "message-authenticated":
      refuseIf(isAnonymous, "unauthorized");
      // The table: whoever is anonymous is told so, also where nobody may send.
      refuseIf(!isAnonymous && !settings.public_messaging.active, "forbidden");
      break;
    case "message-private":
      refuseIf(!settings.private_messaging.active, "forbidden");
      refuseIf(settings.private_messaging.auth && isAnonymous, "unauthorized");
      break;
  }
  return [...reasons];
}

/** Whether a caller sees a message: one for everybody (`database` is null), or one that was restricted to a database's users. */
export function sees(caller: Caller, database: string | null): boolean {
  if (database === null || caller.kind === "server side") return true;
  return caller.kind === "user" && caller.database === database;
}

/** Returns the settings that hold for a channel, whole: its own, or else the nearest above it. Null if none hold. */
export function settingsFor(channel: string, stored: Record<string, Settings>): Settings | null {
  const own = stored[channel];
  if (own) return own;
  const segments = channel.split("/");
  for (let length = segments.length - 1; length > 0; length--) {
    const above = segments.slice(0, length).join("/");
    const pattern = stored[`${above}/*`];
    if (pattern) return pattern;
    const parent = stored[above];
    if (parent?.nested_channels) return parent;
  }
  return stored["*"] ?? null;
}
