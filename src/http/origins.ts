import { cors } from "hono/cors";
import { createMiddleware } from "hono/factory";
import type { Env } from "../env.ts";
import { problem } from "./problem.ts";

/**
 * Lets pages in only from this server's own origin and from those that the variable `ALLOWED_ORIGINS` lists; `*` allows
 * all. CORS alone would not do: it does not stop a WebSocket. What sends no Origin is no page, and passes.
 */
export const origins = createMiddleware<{ Bindings: Env }>(async (c, next) => {
  const origin = c.req.header("Origin");
  if (origin === undefined || isSameOrigin(origin, c.req.url, c.req.header("Host"))) return next();
  const allowed = new Set((c.env.ALLOWED_ORIGINS ?? "").split(",").map((entry) => entry.trim()));
  if (!allowed.has(origin) && !allowed.has("*")) {
    return problem(c, {
      code: "wrong-origin",
      detail: "Pages of this origin may not use this server.",
      field: "Origin",
    });
  }
  // Headers cannot be set on the answer to an upgrade, and need not.
  if (c.req.header("Upgrade") !== undefined) return next();
  return shared(c, next);
});

const shared = cors({
  origin: (origin) => origin,
  allowHeaders: ["Authorization", "Content-Type", "Idempotency-Key"],
  exposeHeaders: ["Link", "Retry-After"],
  maxAge: 600,
});

/** Behind a proxy that ends TLS the scheme may differ, so hosts are compared. */
function isSameOrigin(origin: string, url: string, host: string | undefined): boolean {
  if (!URL.canParse(origin)) return false;
  const from = new URL(origin).host;
  return from === new URL(url).host || from === host;
}
