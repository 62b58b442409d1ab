import { routePath } from "hono/route";
import { DeadlineError } from "../shared/deadline.ts";
import { logFailure } from "../shared/logging.ts";
import { ERRORS, type Fault, FaultError, problemOf } from "../protocol/errors.ts";
import type { AppContext } from "./request.ts";

/** Returns a problem response (RFC 9457). Its `type` is a path on this server that explains the error. */
export function problem(c: AppContext, fault: Fault): Response {
  const { code, retryAfter } = fault;
  const { status } = ERRORS[code];
  const route = routePath(c, -1);
  c.env.METRICS?.writeDataPoint({ indexes: [code], blobs: ["refusal", code, c.req.method, route], doubles: [status] });
  c.header("Content-Type", "application/problem+json");
  if (code === "unauthorized") c.header("WWW-Authenticate", "Bearer");
  if (code === "upgrade-required") c.header("Upgrade", "websocket");
  if (retryAfter !== undefined) c.header("Retry-After", String(retryAfter));
  return c.body(JSON.stringify(problemOf(fault)), status);
}

/**
 * Returns the fault to send for an error. An unexpected error is logged, and the fault only says whether to try again.
 *
 * @param fields Where it happened, for the log.
 */
export function faultOf(error: unknown, fields?: Record<string, string>): Fault {
  if (error instanceof FaultError) return error.fault;
  logFailure("request failed", error, fields);
  return isTemporary(error)
    ? { code: "unavailable", detail: "The channel does not answer. Try again in 1 s.", retryAfter: 1 }
    : {
        code: "internal",
        detail: "The server failed unexpectedly, and logged the error. The request may or may not have taken effect.",
      };
}

/**
 * Returns whether an error may be temporary: a time limit was exceeded, or a Durable Object marked the error as
 * temporary (https://developers.cloudflare.com/durable-objects/best-practices/error-handling/).
 */
function isTemporary(error: unknown): boolean {
  if (error instanceof DeadlineError) return true;
  const { retryable, overloaded } = error as { retryable?: unknown; overloaded?: unknown };
  return retryable === true || overloaded === true;
}
