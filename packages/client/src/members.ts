import type { Client } from "../../../src/protocol/frames.ts";
import type { ServerFrame } from "./messages.ts";

/** The members of a channel (PROTOCOL.md, PRE). */
export interface Presence {
  /** The members that this client knows of. The server lists at most 1,000 when the client joins (PRE5). */
  members: readonly Client[];
  /** The number of all members. */
  total: number;
  /** The member that has just joined or left. Undefined when the server has sent the whole list. */
  change?: { action: "join" | "leave"; client: Client };
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
  const others = members.filter(({ socketId }) => socketId !== client.socketId);
  const known = others.length < members.length;
  if (action === "leave")
    return { members: others, total: Math.max(total - 1, others.length), change: { action, client } };
  return { members: [...others, client], total: known ? total : total + 1, change: { action, client } };
}
