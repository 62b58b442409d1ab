import type { StoredMessage } from "../protocol/frames.ts";
import type { Page } from "./page.ts";
import type { Direction } from "./range.ts";

/** Returns a test whether a message's payload contains a text: anywhere in its JSON text, literally, ignoring case. */
export function contains(text: string): (message: StoredMessage) => boolean {
  const searched = text.toLowerCase();
  return ({ payload }) => payload.toLowerCase().includes(searched);
}

/**
 * Filters a page, keeping at most `limit` matches. Further matches are left for the next page, which begins after the
 * last match that was kept.
 */
export function filterPage(
  { from, to, messages }: Page,
  direction: Direction,
  limit: number,
  isWanted: (message: StoredMessage) => boolean,
): Page {
  const wanted = messages.filter(isWanted);
  if (wanted.length <= limit) return { from, to, messages: wanted };
  if (direction === "forward") {
    const matches = wanted.slice(0, limit);
    return { from, to: matches.at(-1)?.seq ?? to, messages: matches };
  }
  const matches = wanted.slice(-limit);
  return { from: matches[0]?.seq ?? from, to, messages: matches };
}
