/** Consecutive positions, both ends included; empty if `from > to`. */
export interface Range {
  from: number;
  to: number;
}

/**
 * The direction in which a page is read. If a page must end early, it keeps the oldest messages for `forward`, and the
 * newest for `backward`.
 */
export type Direction = "forward" | "backward";

/** The bounds of a history page, in positions. */
export interface PageBounds {
  /** The number of positions that the page covers. */
  limit: number;
  /** The page ends before this position. */
  before?: number | undefined;
  /** The page begins after this position, and is read forward. */
  after?: number | undefined;
  /** The page has nothing before this position. */
  first?: number | undefined;
}

/**
 * Returns the positions that a history page covers. `seq` has no gaps, so this needs no query. With `after`, the page
 * begins after that position. Otherwise it ends before `before`, or with the newest message.
 *
 * @param last The channel's last `seq`, 0 if it has no message.
 */
export function pageRange(bounds: PageBounds, last: number): Range & { direction: Direction } {
  const { limit, after, first = 1 } = bounds;
  const end = endOf(bounds, last);
  if (after === undefined) return { from: Math.max(first, end - limit + 1), to: end, direction: "backward" };
  const from = Math.max(first, after + 1);
  return { from, to: Math.min(from + limit - 1, end), direction: "forward" };
}

/** Returns the last position that a page with these bounds may have. */
export function endOf({ before = Infinity }: PageBounds, last: number): number {
  return Math.min(last, before - 1);
}

/** The parts of a message that count toward the size of a page. */
export type Sized = { payload: string; client: string | null };

/** Returns the text of a message and its sender, in UTF-16 units. */
export function textLength({ payload, client }: Sized): number {
  return payload.length + (client?.length ?? 0);
}

/**
 * Returns the first messages, until their text reaches the budget. Always includes the first message, so that every
 * message can be read.
 *
 * @param budget In UTF-16 units.
 */
export function takeWithin<T extends Sized>(messages: Iterable<T>, budget: number): T[] {
  const taken: T[] = [];
  let characters = 0;
  for (const message of messages) {
    if (characters >= budget) break;
    characters += textLength(message);
    taken.push(message);
  }
  return taken;
}

/** Returns the longest suffix of these messages that has no gap. */
export function latestRun<T extends { seq: number }>(messages: readonly T[]): T[] {
  return messages.slice(messages.findLastIndex(({ seq }, index) => messages[index - 1]?.seq !== seq - 1));
}
