import type { HistoryStore } from "./store.ts";

/**
 * The size of a block of positions. At most one block is searched for a message that a reader may see, which bounds the
 * rows read.
 */
const BLOCK_POSITIONS = 1_000;

/** The positions of certain times in a channel's log. */
export interface LogPositions {
  /** The first position in the log; `last + 1` if the log is empty. */
  oldest: number;
  /** For each time, the first position in the log whose message has that time or a later one. */
  positions: number[];
  /**
   * For a reader that may not see all messages: for each of `positions`, the first position in its block that the
   * reader may see.
   */
  visible?: number[];
}

/**
 * A reader that may not see all messages: it sees unrestricted messages and those restricted to its auth database, null
 * for none. Positions for it must not depend on other messages, because they would reveal when those were sent.
 */
export interface Reader {
  database: string | null;
}

/** Returns the last position of a position's block. */
export function blockEnd(position: number): number {
  return (Math.floor(position / BLOCK_POSITIONS) + 1) * BLOCK_POSITIONS - 1;
}

/** The same as SQL, for an expression that is an integer. */
export const blockEndSql = (position: string) => `((${position} / ${BLOCK_POSITIONS} + 1) * ${BLOCK_POSITIONS} - 1)`;

/**
 * Whether the archive must be searched: the log's oldest message has the time or a later one, so archived messages may
 * have it, too.
 */
export function needsArchive(position: number, oldest: number): boolean {
  return position === oldest && oldest > 1;
}

/**
 * Returns the first position of each time, completed from the archive. The log must have been read first, as for a
 * page: messages that it no longer contained then were archived.
 *
 * @param times In milliseconds since the epoch, in the order of the positions.
 * @param reader A reader that may not see all messages. Then `visible` must be given, too.
 */
export async function completePositions(
  channel: string,
  times: readonly number[],
  { oldest, positions, visible = positions }: LogPositions,
  store: HistoryStore,
  reader?: Reader,
): Promise<number[]> {
  const unknown = times.filter((_, index) => needsArchive(positions[index] ?? 0, oldest));
  if (unknown.length === 0) return visible;
  const found = (await store.positionsAt(channel, unknown, oldest, reader)).values();
  return visible.map((inLog, index) => {
    const inArchive = needsArchive(positions[index] ?? 0, oldest) ? found.next().value : undefined;
    return inArchive !== undefined && inArchive < oldest ? inArchive : inLog;
  });
}
