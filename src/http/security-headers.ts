import type { MiddlewareHandler } from "hono";
import { secureHeaders } from "hono/secure-headers";

const ANSWERS = {
  // An answer is JSON: opened as a page it loads nothing, and no page may frame it.
  contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
  // Concerns requests without CORS only. Pages of allowed origins read answers by CORS.
  crossOriginResourcePolicy: "same-origin",
  crossOriginOpenerPolicy: "same-origin",
  referrerPolicy: "no-referrer",
  xContentTypeOptions: true,
  // For browsers that do not know the Content-Security-Policy, or for nothing at all.
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
 * Sets the security headers of every answer, errors included (SRV5). Nothing is cached: most answers depend on a credential.
 * The headers of an upgrade cannot be changed, and mean nothing to a browser.
 */
export const securityHeaders: MiddlewareHandler = async (c, next) => {
  await next();
  if (c.res.status === 101) return;
  c.res.headers.set("Cache-Control", "no-store");
  await (c.req.url.startsWith("https:") ? byHttps : byHttp)(c, async () => {});
};
