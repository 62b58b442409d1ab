import type { StoredMessage } from "../protocol/frames.ts";
import type { Page } from "./page.ts";
import type { Direction } from "./range.ts";

/** Whether a message's payload holds a text: anywhere in its JSON text, literally, in whatever case. */
export function contains(text: string): (message: StoredMessage) => boolean {
  const wanted = text.toLowerCase();
  return ({ payload }) => payload.toLowerCase().includes(wanted);
}

/**
 * Keeps of a page what is wanted, and no more than so many: those at the far end of the direction are for the next
 * page, which begins behind the last one that was kept.
 */
export function pick(
  { from, to, messages }: Page,
  direction: Direction,
  limit: number,
  isWanted: (message: StoredMessage) => boolean,
): Page {
  const wanted = messages.filter(isWanted);
  if (wanted.length <= limit) return { from, to, messages: wanted };
  if (direction === "forward") {
    const kept = wanted.slice(0, limit);
    return { from, to: kept.at(-1)?.seq ?? to, messages: kept };
  }
  const kept = wanted.slice(-limit);
  return { from: kept[0]?.seq ?? from, to, messages: kept };
}
