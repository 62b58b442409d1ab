import { refuse } from "../protocol/errors.ts";
import { MAX_REVOCATIONS, REVOCATION_LIFETIME_MS } from "../protocol/limits.ts";
import type { Identity } from "../auth/policy.ts";

/**
 * For each user, by its id as text, the time until which tokens must have been issued to be revoked, in milliseconds
 * since the epoch. The entry with the empty id is for all users.
 */
export type Revocations = Record<string, number>;

/** The id of the entry for all users. No user's id is empty. */
const ALL_USERS = "";

/** The refusal of a user whose token was issued before the user was disconnected. */
export const REVOKED = refuse("unauthorized", "The user was disconnected, so this token is revoked. Get a new token.");

/**
 * Returns whether a caller's token is revoked. A token without `iat` is revoked by every entry, because it cannot prove
 * that it is newer.
 */
export function isRevoked(who: Identity, revocations: Revocations = {}): boolean {
  if (who.kind !== "user") return false;
  const { issued = -Infinity } = who;
  return [ALL_USERS, String(who.row_id)].some((key) => {
    const until = Object.hasOwn(revocations, key) ? revocations[key] : undefined;
    return until !== undefined && isAlive(until) && issued <= until;
  });
}

/**
 * Returns the revocations with one more: for a user, or for all users. Leaves out entries that are too old to count.
 * Returns undefined if as many users are revoked as may be.
 *
 * @param now In milliseconds since the epoch.
 */
export function revoked(
  revocations: Revocations,
  id: number | string | undefined,
  now: number,
): Revocations | undefined {
  const key = id === undefined ? ALL_USERS : String(id);
  // Requests may arrive out of order, so the later time counts.
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
