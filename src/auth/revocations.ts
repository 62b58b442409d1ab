import { refuse } from "../protocol/errors.ts";
import { MAX_REVOCATIONS, REVOCATION_LIFETIME_MS } from "../protocol/limits.ts";
import type { Identity } from "./policy.ts";

/** Until when tokens are revoked, in milliseconds since the epoch: of a user, by its id as text, or of everyone. */
export type Revocations = Record<string, number>;

/** The entry for all users of a database. No user's id is empty. */
const EVERYONE = "";

/** The refusal of a user whose token was issued before the user was disconnected. */
export const REVOKED = refuse("unauthorized", "The user was disconnected; a newer token is needed.");

/** Whether a caller's token is revoked. One that does not say when it was issued cannot prove that it is newer. */
export function isRevoked(who: Identity, revocations: Revocations = {}): boolean {
  if (who.kind !== "user") return false;
  const { issued = -Infinity } = who;
  return [EVERYONE, String(who.row_id)].some((key) => {
    const until = Object.hasOwn(revocations, key) ? revocations[key] : undefined;
    return until !== undefined && isAlive(until) && issued <= until;
  });
}

/**
 * Returns revocations with one more, of a user or of everyone; undefined if they are as many as there may be. Those that are
 * too old to count are dropped.
 */
export function revoked(
  revocations: Revocations,
  id: number | string | undefined,
  now: number,
): Revocations | undefined {
  const key = id === undefined ? EVERYONE : String(id);
  // Requests may overtake each other: the later time counts.
  const until = Math.max(now, Object.hasOwn(revocations, key) ? (revocations[key] ?? now) : now);
  const others = Object.entries(revocations).filter(
    ([other, time]) => other !== key && (id === undefined ? time > until : isAlive(time)),
  );
  if (id !== undefined && others.length >= MAX_REVOCATIONS) return undefined;
  return Object.fromEntries([...others, [key, until]]);
}

function isAlive(until: number): boolean {
  return Date.now() - until <= REVOCATION_LIFETIME_MS;
}
