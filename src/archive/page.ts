import type { StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_BYTES } from "../protocol/limits.ts";
import { type Direction, endOf, type PageBounds, type Range, takeWithin, textLength } from "./range.ts";
import type { HistoryStore } from "./store.ts";

/** What a channel's log gives to a page of history. */
export interface LogPage {
  /** The channel's last `seq`. */
  last: number;
  /** The positions that the page is to cover. */
  range: Range;
  direction: Direction;
  /** Those of its messages that the log holds, oldest first; fewer, where they are too much for one page. */
  messages: StoredMessage[];
  /** The positions of the page that only the archive holds, and that it has still room for. */
  archived: Range;
  /** The first position that the log holds. */
  oldest: number;
  /** What the archive refused and the object keeps, oldest first: the next that there is in the page's direction, if any. */
  setAside: StoredMessage[];
}

/** Messages, and the positions that they cover. */
export interface Page extends Range {
  messages: StoredMessage[];
}

/**
 * Completes a page from the archive. The log must have been read before: what it no longer held then was archived,
 * while the other way round a message that moved in between would be missed.
 *
 * Where messages were deleted from the archive, the page holds the next ones that exist instead, so it covers more
 * positions than its range.
 */
export async function completePage(
  channel: string,
  bounds: PageBounds,
  page: LogPage,
  store: HistoryStore,
): Promise<Page> {
  const { archived, direction, range, messages } = page;
  if (archived.from > archived.to) return covering(messages, range, direction);
  return direction === "backward"
    ? completeBackward(channel, bounds, page, store)
    : completeForward(channel, bounds, page, store);
}

async function completeBackward(
  channel: string,
  { first = 1 }: PageBounds,
  { archived, range, messages, setAside }: LogPage,
  store: HistoryStore,
): Promise<Page> {
  const room = archived.to - archived.from + 1;
  const budget = MAX_PAGE_BYTES - textOf(messages);
  // One more than there is room for tells whether anything older exists.
  const inArchive = await store.read(channel, { from: first, to: archived.to }, "backward", budget, room + 1);
  const found = takeWithin(merged(inArchive, setAside).toReversed(), budget).toReversed();
  const older = found.slice(-room);
  const from = found.length > room ? (older[0]?.seq ?? first) : first;
  return covering([...older, ...messages], { from, to: range.to }, "backward");
}

/** Reading forward the older part comes first; where it fills the page, the newer one is for the next. */
async function completeForward(
  channel: string,
  bounds: PageBounds,
  { archived, range, messages, last, oldest, setAside }: LogPage,
  store: HistoryStore,
): Promise<Page> {
  const room = range.to - range.from + 1;
  const end = Math.min(oldest - 1, endOf(bounds, last));
  const inArchive = await store.read(channel, { from: archived.from, to: end }, "forward", MAX_PAGE_BYTES, room);
  const older = merged(inArchive, setAside).slice(0, room);
  const to = older.length < room ? Math.max(end, range.to) : (older.at(-1)?.seq ?? range.to);
  return covering(takeWithin([...older, ...messages], MAX_PAGE_BYTES), { from: range.from, to }, "forward");
}

/** What the archive ended early without is not in what was set aside either: the page is cut at the same place. */
function merged(inArchive: StoredMessage[], setAside: StoredMessage[]): StoredMessage[] {
  if (setAside.length === 0) return inArchive;
  return [...inArchive, ...setAside].toSorted((one, other) => one.seq - other.seq);
}

/** A page that is full of text ends before its range does. */
function covering(messages: StoredMessage[], { from, to }: Range, direction: Direction): Page {
  if (textOf(messages) < MAX_PAGE_BYTES) return { messages, from, to };
  return direction === "forward"
    ? { messages, from, to: messages.at(-1)?.seq ?? to }
    : { messages, from: messages[0]?.seq ?? from, to };
}

function textOf(messages: readonly StoredMessage[]): number {
  return messages.reduce((sum, message) => sum + textLength(message), 0);
}
