import { cors } from "hono/cors";
import { createMiddleware } from "hono/factory";
import type { Env } from "../env.ts";
import { logFailure } from "../shared/logging.ts";
import { problem } from "./problem.ts";
import type { AppContext } from "./request.ts";

/** The headers that a page may send, and the seconds for which a browser remembers that. */
const REQUESTS = { allowHeaders: ["Authorization", "Content-Type", "Idempotency-Key"], maxAge: 600 };

/** The longest origin that a refusal repeats. No host name in DNS is longer. */
const MAX_NAMED_CHARACTERS = 300;

/** The origins of this machine, on any port. Browsers let no other site have these host names. */
const LOCAL_ORIGIN = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

/**
 * Allows requests of pages only from this server's own origin and from the origins in the variable `ALLOWED_ORIGINS`.
 * `*` allows all except `null`, the origin of every sandboxed page. A development server also allows pages of this
 * machine, on any port. CORS alone would not be enough, because it does not stop a WebSocket. A request without
 * `Origin` is not from a page, and passes.
 */
export const origins = createMiddleware<{ Bindings: Env }>(async (c, next) => {
  const header = c.req.header("Origin");
  if (header === undefined) return next();
  const origin = originOf(header);
  if (origin === new URL(c.req.url).origin) return next();
  if (origin === undefined || !isAllowed(origin, c.env)) return refuse(c, origin);
  // The response to an upgrade cannot and need not have CORS headers.
  if (c.req.header("Upgrade") !== undefined) return next();
  return shared(c, next);
});

const shared = cors({ origin: (origin) => origin, exposeHeaders: ["Link", "Retry-After"], ...REQUESTS });

function isAllowed(origin: string, { ALLOWED_ORIGINS = "", LOCAL_HOSTS }: Env): boolean {
  if (LOCAL_HOSTS !== undefined && LOCAL_ORIGIN.test(origin)) return true;
  const allowed = allowedOrigins(ALLOWED_ORIGINS);
  return allowed.has(origin) || allowed.has("*");
}

/**
 * Refuses a page's request. The page may read the refusal, which contains nothing that it does not know; otherwise its
 * developer would see only a failed request. A preflight passes, because a browser hides a refused preflight from the
 * page.
 */
async function refuse(c: AppContext, origin: string | undefined): Promise<Response | void> {
  const isPreflight = c.req.method === "OPTIONS" && c.req.header("Access-Control-Request-Method") !== undefined;
  if (isPreflight) return passed(c, async () => {});
  c.header("Access-Control-Allow-Origin", "*");
  return problem(c, { code: "wrong-origin", detail: refusalOf(origin), field: "Origin" });
}

const passed = cors({ origin: "*", ...REQUESTS });

function refusalOf(origin: string | undefined): string {
  if (origin !== undefined && origin.length <= MAX_NAMED_CHARACTERS) {
    return `Pages of ${origin} may not use this server. If the pages are yours, add the origin to ALLOWED_ORIGINS in wrangler.toml.`;
  }
  return "A page needs an origin like https://app.example.com to use this server. A file or a sandboxed frame has none: serve the page over http or https.";
}

const ORIGIN = /^([a-z][a-z\d+.-]*):\/\/[^\s/?#@*,]+\/?$/i;

/**
 * Returns an origin as browsers send it: scheme and host in lower case and ASCII, and the port unless it is the
 * scheme's default. Returns undefined for any other text, and for `null`.
 */
function originOf(text: string): string | undefined {
  const url = ORIGIN.test(text) ? URL.parse(text) : null;
  if (!url) return undefined;
  // Apps in a webview have their own schemes (`capacitor://localhost`), which have no origin in the URL standard.
  return url.origin === "null" ? `${url.protocol}//${url.host.toLowerCase()}` : url.origin;
}

let known: { text: string; origins: Set<string> } = { text: "", origins: new Set() };

/**
 * Returns the usable entries of `ALLOWED_ORIGINS`. They are parsed once, because they hardly ever change; so an
 * unusable entry is also logged once.
 */
function allowedOrigins(text: string): Set<string> {
  if (known.text === text) return known.origins;
  known = { text, origins: new Set(text.split(",").flatMap((entry) => usableOrigin(entry.trim()) ?? [])) };
  return known.origins;
}

function usableOrigin(entry: string): string | undefined {
  if (entry === "" || entry === "*") return entry || undefined;
  const origin = originOf(entry);
  if (origin === undefined) {
    const reason = new Error(
      "an entry of ALLOWED_ORIGINS must be scheme://host or scheme://host:port, without a path, or * for all origins",
    );
    logFailure("allowed origin not usable", reason, { entry });
  }
  return origin;
}
