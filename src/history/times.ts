import type { HistoryStore } from "./store.ts";

/**
 * Positions up to the next multiple of this are searched for a message that a reader may see. It bounds the rows that are read.
 */
const BLOCK_POSITIONS = 1_000;

/** What a channel's log says about when its messages were. */
export interface LogPositions {
  /** The first position that the log holds; `last + 1` where it holds none. */
  oldest: number;
  /** For each time that was asked for the first position of then or later, as far as the log goes back. */
  positions: number[];
  /** The same for a reader who may not see all messages: the first that it may see, in each position's block. */
  visible?: number[];
}

/**
 * Whose messages a position may depend on: those that are for all, and those for the users of this auth database. The position of
 * any other would tell its reader when it was sent.
 */
export interface Reader {
  database: string | null;
}

/** Returns the last position of the block that a position is in. */
export function blockEnd(position: number): number {
  return (Math.floor(position / BLOCK_POSITIONS) + 1) * BLOCK_POSITIONS - 1;
}

/** The same in SQL, for a position that is an integer there. */
export const blockEndSql = (position: string) => `((${position} / ${BLOCK_POSITIONS} + 1) * ${BLOCK_POSITIONS} - 1)`;

/** Whether the log cannot tell: its oldest message is of then or later, so earlier ones may be, too. */
export function isOpen(position: number, oldest: number): boolean {
  return position === oldest && oldest > 1;
}

/**
 * Completes from the archive where the messages of certain times begin. The log must have been read before, as for a
 * page: what it no longer held then was archived.
 *
 * @param times In milliseconds since the epoch, in the order of the positions.
 * @param reader Who may not see all messages; the log must have been asked for it.
 */
export async function completePositions(
  channel: string,
  times: readonly number[],
  { oldest, positions, visible = positions }: LogPositions,
  store: HistoryStore,
  reader?: Reader,
): Promise<number[]> {
  const asked = times.filter((_, index) => isOpen(positions[index] ?? 0, oldest));
  if (asked.length === 0) return visible;
  const found = (await store.positionsAt(channel, asked, oldest, reader)).values();
  return visible.map((inLog, index) => {
    const inArchive = isOpen(positions[index] ?? 0, oldest) ? found.next().value : undefined;
    return inArchive !== undefined && inArchive < oldest ? inArchive : inLog;
  });
}
