import type { Client } from "../protocol/frames.ts";
import type { ServerFrame } from "./messages.ts";

/** Who is on a channel, as far as a client is told (PROTOCOL.md, PRE). */
export interface Presence {
  /** At most 1,000 are listed at first (PRE5). */
  members: readonly Client[];
  /** How many there are. */
  total: number;
  /** Who came or went just now; left out where the whole list is new. */
  change?: { action: "join" | "leave"; client: Client };
}

type FullFrame = Extract<ServerFrame, { action: "presence_full" }>;
type UpdateFrame = Extract<ServerFrame, { action: "presence_update" }>;

export const NOBODY: Presence = { members: [], total: 0 };

export function allOf({ options, payload }: FullFrame): Presence {
  return { members: payload.presence, total: options.total };
}

/** A new list, so that whoever holds the old one can tell. */
export function changed({ members, total }: Presence, { payload }: UpdateFrame): Presence {
  const { action, presence: client } = payload;
  const others = members.filter(({ socketId }) => socketId !== client.socketId);
  const known = others.length < members.length;
  if (action === "leave")
    return { members: others, total: Math.max(total - 1, others.length), change: { action, client } };
  return { members: [...others, client], total: known ? total : total + 1, change: { action, client } };
}
