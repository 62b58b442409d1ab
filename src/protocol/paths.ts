/** Returns the path of a channel's history (CHA2). */
export function historyPath(channel: string, query: string): string {
  return `/channels/${encodeURIComponent(channel)}/messages?${query}`;
}
