import { Hono } from "hono";
import { askD1 } from "../ask-d1.ts";
import { withDeadline } from "../channel/deadline.ts";
import type { Env } from "../env.ts";
import { FaultError } from "../protocol/errors.ts";
import { callerOf } from "./caller.ts";

/** How long D1 may take to answer, in milliseconds. */
const DEADLINE = 2_000;
/** How long an answer of D1's holds, in milliseconds: however many ask, D1 is asked about once a second. */
const FRESH_FOR = 1_000;

let last: { at: number; answers: boolean } | undefined;

/** `GET /health`: whether the Worker runs, and D1 answers and has its tables. Takes no credentials. */
export const health = new Hono<{ Bindings: Env }>().get("/health", async (c) => {
  // Anybody may ask, but credentials that are not valid are refused everywhere.
  await callerOf(c);
  if (!(await isWell(c.env.DB)))
    throw new FaultError({ code: "unavailable", detail: "D1 does not answer.", retryAfter: 1 });
  return c.json({ status: "ok" });
});

/** D1's latest answer; while it is asked anew, the others get the one before. */
async function isWell(database: D1Database): Promise<boolean> {
  if (last && Math.abs(Date.now() - last.at) < FRESH_FOR) return last.answers;
  if (last) last.at = Date.now();
  last = { answers: await answers(database), at: Date.now() };
  return last.answers;
}

/** Reads one row at most. */
async function answers(database: D1Database): Promise<boolean> {
  const read = () => withDeadline(DEADLINE, database.prepare("SELECT 1 FROM channels LIMIT 1").run());
  return (await askD1(read, { route: "/health" })).ok;
}
