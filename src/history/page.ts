import type { StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_BYTES } from "../protocol/limits.ts";
import { type Direction, type Range, takeWithin } from "./range.ts";
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
  /** Messages of those positions that the archive refused and the object keeps, oldest first. Hardly ever any. */
  setAside: StoredMessage[];
}

/** Messages, and the positions that they cover. */
export interface Page extends Range {
  messages: StoredMessage[];
}

/**
 * Completes a page from the archive. The log must have been read before: what it no longer held then was archived,
 * while the other way round a message that moved in between would be missed.
 */
export async function completePage(channel: string, page: LogPage, store: HistoryStore): Promise<Page> {
  const { archived, direction, range, messages, setAside } = page;
  if (archived.from > archived.to) return covering(messages, range, direction);
  if (direction === "backward") {
    const budget = MAX_PAGE_BYTES - textLength(messages);
    const older = merged(await store.read(channel, archived, direction, budget), setAside);
    return covering([...takeWithin(older.toReversed(), budget).toReversed(), ...messages], range, direction);
  }
  // Reading forward the older part comes first; where it fills the page, the newer one is for the next.
  const older = merged(await store.read(channel, archived, direction, MAX_PAGE_BYTES), setAside);
  return covering(takeWithin([...older, ...messages], MAX_PAGE_BYTES), range, direction);
}

function merged(older: StoredMessage[], setAside: StoredMessage[]): StoredMessage[] {
  return setAside.length === 0 ? older : [...older, ...setAside].toSorted((one, other) => one.seq - other.seq);
}

/** A page that is full of text ends before its range does. */
function covering(messages: StoredMessage[], { from, to }: Range, direction: Direction): Page {
  if (textLength(messages) < MAX_PAGE_BYTES) return { messages, from, to };
  return direction === "forward"
    ? { messages, from, to: messages.at(-1)?.seq ?? to }
    : { messages, from: messages[0]?.seq ?? from, to };
}

function textLength(messages: readonly StoredMessage[]): number {
  return messages.reduce((sum, { payload }) => sum + payload.length, 0);
}
