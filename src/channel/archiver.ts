import type { ArchiveBatch } from "../history/store.ts";

/** How long new messages wait for others to share their trip to D1, in milliseconds. */
export const ARCHIVE_DELAY = 1_000;

/** Rows a statement: of short messages so many are quick for D1 (json_each takes more), and a backlog goes in few trips. */
const BATCH_ROWS = 2_000;
/** Characters of message text a statement: D1 takes strings of up to 2 MB, and escaping text into JSON may enlarge it. */
const BATCH_TEXT = 400_000;

const FIRST_RETRY = 1_000;
const LAST_RETRY = 60_000;

/** What a drain needs: where messages wait, where they go, and how to note that they arrived. */
export interface Drain {
  unarchived: (maxRows: number, maxText: number) => ArchiveBatch | undefined;
  store: (batch: ArchiveBatch) => Promise<void>;
  markArchived: (seq: number) => void;
}

/** Moves all that waits into the archive, batch by batch, in order; also what arrives meanwhile. Throws as `store` does. */
export async function drain({ unarchived, store, markArchived }: Drain): Promise<void> {
  for (;;) {
    const batch = unarchived(BATCH_ROWS, BATCH_TEXT);
    if (!batch) return;
    await store(batch);
    markArchived(batch.last);
  }
}

/**
 * How long to wait before trying again, in milliseconds: doubling from one second to one minute, less up to half at
 * random, so that the channels of one database do not all return at once.
 *
 * @param failures How many attempts failed in a row, 1 or more.
 * @param random A number in [0, 1).
 */
export function retryDelay(failures: number, random: number): number {
  const ceiling = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** (failures - 1));
  return Math.round(ceiling * (1 - random / 2));
}
