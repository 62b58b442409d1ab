import type { Message } from "../../../packages/client/src/client.ts";
import { type Api, pathOf } from "./api.ts";

/** What to search for. An empty text is no condition. */
export interface Search {
  text: string;
  /** Local times, as `datetime-local` inputs return them. */
  since: string;
  until: string;
}

interface HistoryPage {
  messages: Message[];
  next: string | null;
}

/** The state of a search after a request. */
export interface Progress {
  /** The messages that this request found, the newest first. */
  found: Message[];
  /** The path of the next request. Null when the search is complete. */
  next: string | null;
  /** The search has covered all messages from this `seq` on. */
  searchedTo: number | undefined;
}

const PAGE_MESSAGES = 50;

/** Returns the path of a search's first request, which covers the newest messages. */
export function firstPath(channel: string, { text, since, until }: Search): string {
  const query = new URLSearchParams({ limit: String(PAGE_MESSAGES) });
  if (text !== "") query.set("q", text);
  if (since !== "") query.set("since", new Date(since).toISOString());
  if (until !== "") query.set("until", new Date(until).toISOString());
  return pathOf(channel, `/messages?${query}`);
}

/**
 * Continues a search until it has found a page of messages or has reached the oldest one. One request searches a limited
 * number of messages and may find none (HIS7).
 *
 * @param progress Called after each request. Returns whether to continue.
 */
export async function follow(api: Api, path: string, progress: (now: Progress) => boolean): Promise<void> {
  let count = 0;
  for (let next: string | null = path; next !== null && count < PAGE_MESSAGES;) {
    const page: HistoryPage = await api.get(next);
    next = page.next;
    count += page.messages.length;
    const before = new URLSearchParams(next?.split("?")[1]).get("before");
    const searchedTo = before === null ? undefined : Number(before);
    if (!progress({ found: page.messages.toReversed(), next, searchedTo })) return;
  }
}
