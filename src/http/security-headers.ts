import type { MiddlewareHandler } from "hono";
import { secureHeaders } from "hono/secure-headers";

const ANSWERS = {
  // A response is JSON. Opened as a page, it must load nothing, and no page may frame it.
  contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  // Affects only requests without CORS. Pages of allowed origins read responses by CORS.
  crossOriginResourcePolicy: "same-origin",
  crossOriginOpenerPolicy: "same-origin",
  referrerPolicy: "no-referrer",
  xContentTypeOptions: true,
  // These headers do nothing in browsers that know Content-Security-Policy.
  originAgentCluster: false,
  xDnsPrefetchControl: false,
  xDownloadOptions: false,
  xFrameOptions: false,
  xPermittedCrossDomainPolicies: false,
  xXssProtection: false,
};

const byHttp = secureHeaders({ ...ANSWERS, strictTransportSecurity: false });
const byHttps = secureHeaders({ ...ANSWERS, strictTransportSecurity: "max-age=31536000" });

/**
 * Sets the security headers of every response, including errors (SRV5). No response is cached, because most depend on a
 * credential. The headers of an upgrade cannot be changed, and browsers ignore them.
 */
export const securityHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  if (c.res.status === 101) return;
  c.res.headers.set("Cache-Control", "no-store");
  await (c.req.url.startsWith("https:") ? byHttps : byHttp)(c, async () => {});
};
