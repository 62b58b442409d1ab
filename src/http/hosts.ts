import { createMiddleware } from "hono/factory";
import type { Env } from "../env.ts";
import { problem } from "./problem.ts";

/**
 * Keeps a development server from the pages of strangers. Such a page can let its own name lead to this machine (DNS
 * rebinding): the browser then takes the server for a part of that page's site. So the server answers only at names that no
 * stranger has: `localhost`, IP addresses, and those in the variable `LOCAL_HOSTS`. Without the variable, every host is
 * answered: Cloudflare leads only the deployment's own to it.
 */
export const hosts = createMiddleware<{ Bindings: Env }>(async (c, next) => {
  const { LOCAL_HOSTS } = c.env;
  if (LOCAL_HOSTS === undefined) return next();
  const { hostname } = new URL(c.req.url);
  if (isLocal(hostname) || namesOf(LOCAL_HOSTS).includes(hostname)) return next();
  const detail = `This development server does not answer at ${hostname}. If you mean it, start with: npm start -- --host ${hostname}`;
  return problem(c, { code: "wrong-host", detail, field: "Host" });
});

/** The URL standard writes every IPv4 address as four numbers, and an IPv6 address in brackets. */
function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.startsWith("[") || /^\d+\.\d+\.\d+\.\d+$/.test(hostname);
}

function namesOf(list: string): string[] {
  return list.split(",").flatMap((entry) => URL.parse(`http://${entry.trim()}`)?.hostname ?? []);
}
