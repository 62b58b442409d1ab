import type { StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_CHARACTERS } from "../protocol/limits.ts";
import { type Direction, endOf, type PageBounds, type Range, takeWithin, textLength } from "./range.ts";
import type { HistoryStore } from "./store.ts";

/** The part of a history page that a channel's log has. */
export interface LogPage {
  /** The channel's last `seq`. */
  last: number;
  /** The positions that the page covers. */
  range: Range;
  direction: Direction;
  /** The messages of the page that are in the log, oldest first. Fewer if they are too much text for one page. */
  messages: StoredMessage[];
  /** The positions of the page that must be read from the archive. Empty if the page is full already. */
  archived: Range;
  /** The first position in the log. */
  oldest: number;
  /** The next messages in the page's direction that were set aside because D1 refused them, oldest first. */
  setAside: StoredMessage[];
}

/** Messages, and the positions that they cover. */
export interface Page extends Range {
  messages: StoredMessage[];
}

/**
 * Returns a page, completed from the archive. The log must have been read first: messages that it no longer contained
 * then were archived. In the other order, a message that moved in between would be missed.
 *
 * If messages were deleted from the archive, the page has the next messages that exist instead, so it covers more
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
  const budget = MAX_PAGE_CHARACTERS - textOf(messages);
  // Reading one more message than there is room for shows whether older messages exist.
  const inArchive = await store.read(channel, { from: first, to: archived.to }, "backward", budget, room + 1);
  const found = takeWithin(merged(inArchive, setAside).toReversed(), budget).toReversed();
  const older = found.slice(-room);
  const from = found.length > room ? (older[0]?.seq ?? first) : first;
  return covering([...older, ...messages], { from, to: range.to }, "backward");
}

/**
 * Completes a forward page. The archived part comes first. If it fills the page, the log's part belongs to the next
 * page.
 */
async function completeForward(
  channel: string,
  bounds: PageBounds,
  { archived, range, messages, last, oldest, setAside }: LogPage,
  store: HistoryStore,
): Promise<Page> {
  const room = range.to - range.from + 1;
  const end = Math.min(oldest - 1, endOf(bounds, last));
  const inArchive = await store.read(channel, { from: archived.from, to: end }, "forward", MAX_PAGE_CHARACTERS, room);
  const older = merged(inArchive, setAside).slice(0, room);
  const to = older.length < room ? Math.max(end, range.to) : (older.at(-1)?.seq ?? range.to);
  return covering(takeWithin([...older, ...messages], MAX_PAGE_CHARACTERS), { from: range.from, to }, "forward");
}

/**
 * Merges archived messages with messages that were set aside. If the archive's part ended early, the page is cut at the
 * same position, so it has no messages beyond that.
 */
function merged(inArchive: StoredMessage[], setAside: StoredMessage[]): StoredMessage[] {
  if (setAside.length === 0) return inArchive;
  return [...inArchive, ...setAside].toSorted((one, other) => one.seq - other.seq);
}

/** Returns a page with the positions that it covers. A page that is full of text ends before its range does. */
function covering(messages: StoredMessage[], { from, to }: Range, direction: Direction): Page {
  if (textOf(messages) < MAX_PAGE_CHARACTERS) return { messages, from, to };
  return direction === "forward"
    ? { messages, from, to: messages.at(-1)?.seq ?? to }
    : { messages, from: messages[0]?.seq ?? from, to };
}

function textOf(messages: readonly StoredMessage[]): number {
  return messages.reduce((sum, message) => sum + textLength(message), 0);
}
