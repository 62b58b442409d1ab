/** A run of positions, both ends included; empty where `from > to`. */
export interface Range {
  from: number;
  to: number;
}

/** Which end of its range a page must keep if it has to end early: the oldest for `forward`, else the newest. */
export type Direction = "forward" | "backward";

/** What bounds a page of history, in positions. */
export interface PageBounds {
  /** How many positions it covers. */
  limit: number;
  /** It lies before this one. */
  before?: number | undefined;
  /** It begins behind this one, and so is read forward. */
  after?: number | undefined;
  /** It holds nothing before this one. */
  first?: number | undefined;
}

/**
 * The positions that a page of history covers. As `seq` has no gaps, that is arithmetic: `after` reads forward from
 * there; otherwise the page is the latest before `before`, or before the end.
 *
 * @param last The channel's last `seq`, 0 where there is none.
 */
export function pageRange(bounds: PageBounds, last: number): Range & { direction: Direction } {
  const { limit, after, first = 1 } = bounds;
  const end = endOf(bounds, last);
  if (after === undefined) return { from: Math.max(first, end - limit + 1), to: end, direction: "backward" };
  const from = Math.max(first, after + 1);
  return { from, to: Math.min(from + limit - 1, end), direction: "forward" };
}

/** Returns the last position that these bounds let a page hold. */
export function endOf({ before = Infinity }: PageBounds, last: number): number {
  return Math.min(last, before - 1);
}

/** What counts of a message for how large a page gets. */
export type Sized = { payload: string; client: string | null };

/** Returns how much text a message has, its sender included, in UTF-16 units. */
export function textLength({ payload, client }: Sized): number {
  return payload.length + (client?.length ?? 0);
}

/**
 * Takes messages until their text reaches the budget, in UTF-16 units. The first one always passes: a message is never too
 * large to be read back.
 */
export function takeWithin<T extends Sized>(messages: Iterable<T>, budget: number): T[] {
  const taken: T[] = [];
  let text = 0;
  for (const message of messages) {
    if (text >= budget) break;
    text += textLength(message);
    taken.push(message);
  }
  return taken;
}

/** Returns the last messages that follow each other without a gap. */
export function latestRun<T extends { seq: number }>(messages: readonly T[]): T[] {
  return messages.slice(messages.findLastIndex(({ seq }, index) => messages[index - 1]?.seq !== seq - 1));
}
