import type { HistoryStore } from "./store.ts";

/** What a channel's log says about when its messages were. */
export interface LogPositions {
  /** The first position that the log holds; `last + 1` where it holds none. */
  oldest: number;
  /** For each time that was asked for the first position of then or later, as far as the log goes back. */
  positions: number[];
}

/** Whether the log cannot tell: its oldest message is of then or later, so earlier ones may be, too. */
export function isOpen(position: number, oldest: number): boolean {
  return position === oldest && oldest > 1;
}

/**
 * Completes from the archive where the messages of certain times begin. The log must have been read before, as for a
 * page: what it no longer held then was archived.
 *
 * @param times In milliseconds since the epoch, in the order of the positions.
 */
export async function completePositions(
  channel: string,
  times: readonly number[],
  { oldest, positions }: LogPositions,
  store: HistoryStore,
): Promise<number[]> {
  const asked = times.filter((_, index) => isOpen(positions[index] ?? 0, oldest));
  if (asked.length === 0) return positions;
  const found = (await store.positionsAt(channel, asked, oldest)).values();
  return positions.map((position) => (isOpen(position, oldest) ? (found.next().value ?? position) : position));
}
