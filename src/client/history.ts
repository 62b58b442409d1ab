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
  next: string | null;
}

/**
 * Pages through a channel's history: each page oldest first; forwards with `after`, otherwise from the newest, or from
 * `before`, backwards.
 *
 * @throws ChannelError
 */
export async function* pagesOf(server: Server, channel: string, range: HistoryOptions): AsyncGenerator<Message[]> {
  const { after, before, limit = 100 } = range;
  const entries = Object.entries({ limit, after, before }).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(entries.map(([name, value]) => [name, String(value)]));
  let next: string | null = historyPath(channel, query.toString());
  while (next !== null) {
    const page: Page = await server.request<Page>(next);
    next = page.next;
    yield page.messages;
  }
}
