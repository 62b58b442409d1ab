import type { Client } from "../../../src/protocol/frames.ts";
import type { ServerFrame } from "./messages.ts";

/** A client that has joined a channel. */
export interface Member extends Client {
  /** What the member has set with `setPresence`. Undefined if it never set anything. */
  state?: Record<string, unknown>;
}

/** The members of a channel (PROTOCOL.md, PRE). */
export interface Presence {
  /** The members that this client knows of. The server lists at most 1,000 when the client joins (PRE5). */
  members: readonly Member[];
  /** The number of all members. */
  total: number;
  /** The member that has just joined, left, or changed its state. Undefined when the server has sent the whole list. */
  change?: { action: "join" | "leave" | "update"; client: Member };
}

type FullFrame = Extract<ServerFrame, { action: "presence_full" }>;
type UpdateFrame = Extract<ServerFrame, { action: "presence_update" }>;

export const NO_MEMBERS: Presence = { members: [], total: 0 };

export function presenceOf({ options, payload }: FullFrame): Presence {
  return { members: payload.presence, total: options.total };
}

/** Returns the presence after an update. Its array is a new one, so that React and others notice the change. */
export function updated({ members, total }: Presence, { payload }: UpdateFrame): Presence {
  const { action, presence: client } = payload;
  const change = { action, client };
  const at = members.findIndex(({ socketId }) => socketId === client.socketId);
  if (action === "leave") {
    const others = members.filter((_, index) => index !== at);
    return { members: others, total: Math.max(total - 1, others.length), change };
  }
  if (at >= 0) return { members: members.with(at, client), total, change };
  // The server lists at most 1,000 members, so the update may be about one that is not listed.
  if (action === "update") return { members, total, change };
  return { members: [...members, client], total: total + 1, change };
}
