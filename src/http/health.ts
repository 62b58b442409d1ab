import { Hono } from "hono";
import { tryD1 } from "../shared/try-d1.ts";
import { withDeadline } from "../shared/deadline.ts";
import type { Env } from "../env.ts";
import { FaultError } from "../protocol/errors.ts";
import { callerOf } from "./caller.ts";

/** The time limit for D1. */
const D1_TIMEOUT_MS = 2_000;
/**
 * How long D1's last answer is reused, so that D1 gets at most about one query per second, however many clients ask.
 */
const REUSE_MS = 1_000;

let last: { checkedAt: number; isHealthy: boolean } | undefined;

/** `GET /health`: whether the Worker runs, and D1 answers and has its tables. Needs no credentials. */
export const health = new Hono<{ Bindings: Env }>().get("/health", async (c) => {
  // Invalid credentials are refused on every endpoint.
  await callerOf(c);
  if (!(await isHealthy(c.env.DB)))
    throw new FaultError({ code: "unavailable", detail: "D1 does not answer. Try again in 1 s.", retryAfter: 1 });
  return c.json({ status: "ok" });
});

/** Returns whether D1 answers, reusing a recent result. During a check, other callers get the previous result. */
async function isHealthy(database: D1Database): Promise<boolean> {
  if (last && Math.abs(Date.now() - last.checkedAt) < REUSE_MS) return last.isHealthy;
  if (last) last.checkedAt = Date.now();
  last = { isHealthy: await d1Answers(database), checkedAt: Date.now() };
  return last.isHealthy;
}

/** Returns whether D1 answers and has its tables. Reads at most one row. */
async function d1Answers(database: D1Database): Promise<boolean> {
  const read = () => withDeadline(D1_TIMEOUT_MS, database.prepare("SELECT 1 FROM channels LIMIT 1").run());
  return (await tryD1(read, { route: "/health" })).ok;
}
