import type { StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_BYTES } from "../protocol/limits.ts";
import { type Direction, type Range, takeWithin } from "./range.ts";
import type { HistoryStore } from "./store.ts";

/** What a channel's log gives to a page of history. */
export interface LogPage {
  /** The channel's last `seq`. */
  last: number;
  direction: Direction;
  /** Those of the page's messages that the log holds, oldest first. */
  messages: StoredMessage[];
  /** The positions of the page that only the archive holds. */
  archived: Range;
}

/**
 * Completes a page from the archive. The log must have been read before: what it no longer held then was archived,
 * while the other way round a message that moved in between would be missed.
 */
export async function completePage(channel: string, page: LogPage, store: HistoryStore): Promise<StoredMessage[]> {
  const { archived, direction, messages } = page;
  if (archived.from > archived.to) return messages;
  const older = await store.read(channel, archived, direction, MAX_PAGE_BYTES - textLength(messages));
  if (direction === "backward") return [...older, ...messages];
  // Reading forward the older part comes first; where it filled the page, the newer part is for the next one.
  return older.at(-1)?.seq === archived.to ? takeWithin([...older, ...messages], MAX_PAGE_BYTES) : older;
}

function textLength(messages: readonly StoredMessage[]): number {
  return messages.reduce((sum, { payload }) => sum + payload.length, 0);
}
