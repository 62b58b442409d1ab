import { useEffect, useState } from "preact/hooks";

export const TABS = ["live", "presence", "history", "publish", "stats", "settings"] as const;
export type Tab = (typeof TABS)[number];

/** The current page of the console. It is in the URL after the `#`, so links and the Back button work. */
export type Route = { page: "channels" } | { page: "new" } | { page: "channel"; channel: string; tab: Tab };

export function hrefOf(channel: string, tab: Tab): string {
  return `#/channels/${encodeURIComponent(channel)}/${tab}`;
}

/** Returns whether a name is a pattern. A pattern has settings only. */
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

/** Returns the current route, and renders again when it changes. */
export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

/** Returns the decoded text, or an empty text for a URL that cannot be decoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
