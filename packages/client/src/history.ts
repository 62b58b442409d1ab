import { historyPath } from "../../../src/protocol/paths.ts";
import type { Message } from "./messages.ts";
import type { Server } from "./server.ts";

export interface HistoryOptions {
  /** Read forward: only messages after this `seq`. */
  after?: number;
  /** Read backward: only messages before this `seq`. Together with `after`, read forward and stop before this `seq`. */
  before?: number;
  /** Messages per page, 1 to 1,000 (HIS2). By default 100. */
  limit?: number;
  /** Only messages of this type. */
  type?: string;
}

interface Page {
  messages: Message[];
  /** The path of the next page in the same direction. Null on the last page. */
  next: string | null;
}

/**
 * Reads one page of a channel's history.
 *
 * @throws ChannelError if the server refuses the request or does not answer.
 */
export function readPage(server: Server, channel: string, range: HistoryOptions): Promise<Page> {
  const { after, before, limit = 100, type } = range;
  const entries = Object.entries({ limit, after, before, type }).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(entries.map(([name, value]) => [name, String(value)]));
  return server.request<Page>(historyPath(channel, query.toString()));
}

/**
 * Reads a channel's history, page by page: forward with `after`, otherwise backward from `before` or from the newest message.
 * Within each page the oldest message is first.
 *
 * @throws ChannelError if the server refuses a request or does not answer.
 */
export async function* pagesOf(server: Server, channel: string, range: HistoryOptions): AsyncGenerator<Message[]> {
  let page = await readPage(server, channel, range);
  yield page.messages;
  while (page.next !== null) {
    page = await server.request<Page>(page.next);
    yield page.messages;
  }
}

/** Returns the position after which the page at a path begins. */
export function positionOf(path: string): number {
  return Number(new URLSearchParams(path.slice(path.indexOf("?"))).get("after"));
}
