import { routePath } from "hono/route";
import { DeadlineError } from "../channel/deadline.ts";
import { logFailure } from "../logging.ts";
import { ERRORS, type Fault, FaultError, problemOf } from "../protocol/errors.ts";
import type { AppContext } from "./request.ts";

/** Answers with a problem (RFC 9457). Its `type` is an address of this server that explains it. */
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
 * What an error means to the caller. What was not thrown to be told is logged, and only says whether to try again.
 *
 * @param fields What says where it happened, for the log.
 */
export function faultOf(error: unknown, fields?: Record<string, string>): Fault {
  if (error instanceof FaultError) return error.fault;
  logFailure("request failed", error, fields);
  return mayPass(error)
    ? { code: "unavailable", detail: "The channel does not answer just now.", retryAfter: 1 }
    : { code: "internal", detail: "The request could not be completed." };
}

/** No answer in time, or what a Durable Object marks as passing: https://developers.cloudflare.com/durable-objects/best-practices/error-handling/ */
function mayPass(error: unknown): boolean {
  if (error instanceof DeadlineError) return true;
  const { retryable, overloaded } = error as { retryable?: unknown; overloaded?: unknown };
  return retryable === true || overloaded === true;
}
