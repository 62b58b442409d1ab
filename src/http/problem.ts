import type { Context } from "hono";
import { type ErrorCode, ERRORS, type Fault } from "../protocol/errors.ts";

/** Answers with a problem (RFC 9457). Its `type` is an address of this server that explains it. */
export function problem(c: Context, fault: Fault): Response {
  const { code, retryAfter } = fault;
  c.header("Content-Type", "application/problem+json");
  c.header("Cache-Control", "no-store");
  if (code === "unauthorized") c.header("WWW-Authenticate", "Bearer");
  if (code === "upgrade-required") c.header("Upgrade", "websocket");
  if (retryAfter !== undefined) c.header("Retry-After", String(retryAfter));
  return c.body(JSON.stringify(problemOf(fault)), ERRORS[code].status);
}

/** A fault as a problem's members. */
export function problemOf({ code, ...more }: Fault): object {
  return { ...problemType(code), ...more };
}

/** What `GET /problems/{code}` tells of a problem. */
export function problemType(code: ErrorCode): { type: string; title: string; status: number } {
  const { title, status } = ERRORS[code];
  return { type: `/problems/${code}`, title, status };
}
