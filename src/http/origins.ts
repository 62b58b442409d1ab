import { cors } from "hono/cors";
import { createMiddleware } from "hono/factory";
import type { Env } from "../env.ts";
import { logFailure } from "../logging.ts";
import { problem } from "./problem.ts";

/**
 * Lets pages in only from this server's own origin and from those that the variable `ALLOWED_ORIGINS` lists; `*` allows
 * all but `null`, the origin of any sandboxed page. CORS alone would not do: it does not stop a WebSocket. What sends no
 * Origin is no page, and passes.
 */
export const origins = createMiddleware<{ Bindings: Env }>(async (c, next) => {
  const header = c.req.header("Origin");
  if (header === undefined) return next();
  const origin = originOf(header);
  if (origin === new URL(c.req.url).origin) return next();
  const allowed = allowedOrigins(c.env.ALLOWED_ORIGINS ?? "");
  if (origin === undefined || !(allowed.has(origin) || allowed.has("*"))) {
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

const ORIGIN = /^([a-z][a-z\d+.-]*):\/\/[^\s/?#@*,]+\/?$/i;

/**
 * Returns an origin as browsers send it: scheme and host in lower case and ASCII, and the port only if it is not the
 * scheme's own. Returns undefined for any other text, and for `null`.
 */
function originOf(text: string): string | undefined {
  const url = ORIGIN.test(text) ? URL.parse(text) : null;
  if (!url) return undefined;
  // Apps in a webview have schemes of their own (`capacitor://localhost`), which have no origin by the URL standard.
  return url.origin === "null" ? `${url.protocol}//${url.host.toLowerCase()}` : url.origin;
}

let known: { text: string; origins: Set<string> } = { text: "", origins: new Set() };

/** Returns the entries of `ALLOWED_ORIGINS`. They hardly ever change, so an entry that is no origin is logged once. */
function allowedOrigins(text: string): Set<string> {
  if (known.text === text) return known.origins;
  known = { text, origins: new Set(text.split(",").flatMap((entry) => usable(entry.trim()) ?? [])) };
  return known.origins;
}

function usable(entry: string): string | undefined {
  if (entry === "" || entry === "*") return entry || undefined;
  const origin = originOf(entry);
  if (origin === undefined) {
    const reason = new Error(
      "ALLOWED_ORIGINS takes scheme://host or scheme://host:port, without a path, and * for all",
    );
    logFailure("allowed origin not usable", reason, { entry });
  }
  return origin;
}
