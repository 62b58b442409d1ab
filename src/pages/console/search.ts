import type { Message } from "../../client/client.ts";
import { type Api, pathOf } from "./api.ts";

/** What is looked for. Empty texts ask for nothing. */
export interface Search {
  text: string;
  /** Local times, as a `datetime-local` input has them. */
  since: string;
  until: string;
}

interface HistoryPage {
  messages: Message[];
  next: string | null;
}

/** How a search stands after another request. */
export interface Progress {
  /** What this request found, the newest first. */
  found: Message[];
  /** Where the search goes on; null where it is over. */
  next: string | null;
  /** The `seq` back to which all was searched. */
  searchedTo: number | undefined;
}

/** Messages that one page brings. */
const PAGE = 50;

/** The path at which a search begins, with the newest. */
export function firstPath(channel: string, { text, since, until }: Search): string {
  const query = new URLSearchParams({ limit: String(PAGE) });
  if (text !== "") query.set("q", text);
  if (since !== "") query.set("since", new Date(since).toISOString());
  if (until !== "") query.set("until", new Date(until).toISOString());
  return pathOf(channel, `/messages?${query}`);
}

/**
 * Follows a search back until a page's worth is found or nothing is left: one request searches a bounded number of
 * messages, and may find none of them (HIS7).
 *
 * @param progress Called after each request; answers whether to go on.
 */
export async function follow(api: Api, path: string, progress: (now: Progress) => boolean): Promise<void> {
  let count = 0;
  for (let next: string | null = path; next !== null && count < PAGE;) {
    const page: HistoryPage = await api.get(next);
    next = page.next;
    count += page.messages.length;
    const before = new URLSearchParams(next?.split("?")[1]).get("before");
    const searchedTo = before === null ? undefined : Number(before);
    if (!progress({ found: page.messages.toReversed(), next, searchedTo })) return;
  }
}
