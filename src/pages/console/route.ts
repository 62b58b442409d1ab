import { useEffect, useState } from "preact/hooks";

export const TABS = ["live", "presence", "history", "publish", "stats", "settings"] as const;
export type Tab = (typeof TABS)[number];

/** Where in the console the reader is. It is in the address, behind the `#`, so that it can be linked and gone back to. */
export type Route = { page: "channels" } | { page: "new" } | { page: "channel"; channel: string; tab: Tab };

export function hrefOf(channel: string, tab: Tab): string {
  return `#/channels/${encodeURIComponent(channel)}/${tab}`;
}

/** Whether it is a pattern, which has settings and nothing else. */
export function isPattern(channel: string): boolean {
  return channel.endsWith("*");
}

export function parseRoute(hash: string): Route {
  const [, page, name, tab] = hash.split("/");
  if (page === "new") return { page };
  const channel = decoded(name ?? "");
  if (page !== "channels" || channel === "") return { page: "channels" };
  const known = TABS.find((one) => one === tab) ?? "live";
  return { page: "channel", channel, tab: isPattern(channel) ? "settings" : known };
}

/** Where the reader is now. */
export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

/** An address that somebody typed may not be decodable. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
