import { createMiddleware } from "hono/factory";
import type { Env } from "../env.ts";
import { problem } from "./problem.ts";

/**
 * Protects a development server from other sites' pages. With DNS rebinding, an attacker's page points its own host
 * name at this machine, and the browser then treats the server as part of the attacker's site. So the server answers
 * only at names that an attacker cannot have: `localhost`, IP addresses, and the hosts in the variable `LOCAL_HOSTS`.
 * Without the variable, it answers at every host, because Cloudflare routes only the deployment's own hosts to it.
 */
export const hosts = createMiddleware<{ Bindings: Env }>(async (c, next) => {
  const { LOCAL_HOSTS } = c.env;
  if (LOCAL_HOSTS === undefined) return next();
  const { hostname } = new URL(c.req.url);
  if (isLocal(hostname) || namesOf(LOCAL_HOSTS).includes(hostname)) return next();
  const detail = `This development server does not answer at ${hostname}. To allow this host, start the server with: npm start -- --host ${hostname}`;
  return problem(c, { code: "wrong-host", detail, field: "Host" });
});

/**
 * Whether a host is `localhost` or an IP address. `URL` writes every IPv4 address as four numbers, and an IPv6 address
 * in brackets.
 */
function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.startsWith("[") || /^\d+\.\d+\.\d+\.\d+$/.test(hostname);
}

function namesOf(list: string): string[] {
  return list.split(",").flatMap((entry) => URL.parse(`http://${entry.trim()}`)?.hostname ?? []);
}
