import { historyPath } from "../protocol/paths.ts";
import type { Message } from "./messages.ts";
import type { Server } from "./server.ts";

export interface HistoryOptions {
  /** Read forwards, from behind this `seq`. */
  after?: number;
  /** Read backwards, from before this `seq`; together with `after`: where to end. */
  before?: number;
  /** Messages a page, 1 to 1,000 (HIS2). */
  limit?: number;
}

interface Page {
  messages: Message[];
  /** The path of the page that follows in the same direction, null after the last page. */
  next: string | null;
}

/**
 * Reads one page of a channel's history.
 *
 * @throws ChannelError
 */
export function readPage(server: Server, channel: string, range: HistoryOptions): Promise<Page> {
  const { after, before, limit = 100 } = range;
  const entries = Object.entries({ limit, after, before }).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(entries.map(([name, value]) => [name, String(value)]));
  return server.request<Page>(historyPath(channel, query.toString()));
}

/**
 * Pages through a channel's history: each page oldest first; forwards with `after`, otherwise from the newest, or from
 * `before`, backwards.
 *
 * @throws ChannelError
 */
export async function* pagesOf(server: Server, channel: string, range: HistoryOptions): AsyncGenerator<Message[]> {
  let page = await readPage(server, channel, range);
  yield page.messages;
  while (page.next !== null) {
    page = await server.request<Page>(page.next);
    yield page.messages;
  }
}

/** The position after which the page at a path begins. */
export function positionOf(path: string): number {
  return Number(new URLSearchParams(path.slice(path.indexOf("?"))).get("after"));
}
