/** Who a caller is to a channel. */
export type Identity = { kind: "server" } | { kind: "anonymous" } | { kind: "user"; database: string };

export type Action = "subscribe" | "receive" | "history" | "presence" | "publish" | "restricted" | "private";

/** A channel's settings, complete. */
export interface Settings {
  active: boolean;
  anonymous_clients: boolean;
  presence: boolean;
  message_history: number;
  public_messaging: { active: boolean; auth: boolean };
  private_messaging: { active: boolean; auth: boolean };
  auth_channel: boolean;
  database: string | null;
}

/** The settings that a schedule starts from: everything is allowed. */
export function openSettings(database: string): Settings {
  return {
    active: true,
    anonymous_clients: true,
    presence: true,
    message_history: 100,
    public_messaging: { active: true, auth: false },
    private_messaging: { active: true, auth: false },
    auth_channel: false,
    database,
  };
}

/** Who may do what, by docs/permissions.md alone. */
export function allows(who: Identity, action: Action, settings: Settings | null): boolean {
  if (who.kind === "server") return true;
  if (settings === null || !settings.active) return false;
  if (who.kind === "anonymous" && !settings.anonymous_clients) return false;
  if (who.kind === "user" && settings.database !== who.database) return false;
  const isUser = who.kind === "user";
  const mayMessage = ({ active, auth }: { active: boolean; auth: boolean }) => active && (isUser || !auth);
  switch (action) {
    case "subscribe":
      return true;
    case "receive":
      return isUser || !settings.auth_channel;
    case "history":
      return (isUser || !settings.auth_channel) && settings.message_history > 0;
    case "presence":
      return (isUser || !settings.auth_channel) && settings.presence;
    case "publish":
      return mayMessage(settings.public_messaging);
    case "restricted":
      return isUser && mayMessage(settings.public_messaging);
    case "private":
      return mayMessage(settings.private_messaging);
  }
}

/** Whether a message that is restricted to an auth database's users may be seen. */
export function maySee(who: Identity, restriction: string | null): boolean {
  return who.kind === "server" || restriction === null || (who.kind === "user" && who.database === restriction);
}
