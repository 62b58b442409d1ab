import { Hono } from "hono";
import type { Env } from "../env.ts";
import { mayRead } from "../auth/policy.ts";
import { completePage } from "../history/page.ts";
import type { Range } from "../history/range.ts";
import { HistoryStore } from "../history/store.ts";
import { messageFrames } from "../protocol/frames.ts";
import { historyPath } from "../protocol/paths.ts";
import { HistoryQuery, validate } from "../protocol/schemas.ts";
import { callerOf } from "./caller.ts";
import { channelOf, stubOf, unwrap } from "./request.ts";

/** `GET /channels/{channel}/messages`: a page of history, oldest first, and the address of the next one. */
export const messages = new Hono<{ Bindings: Env }>().get("/channels/:channel/messages", async (c) => {
  const channel = channelOf(c);
  const query = unwrap(validate(HistoryQuery, c.req.query(), "query"));
  const who = await callerOf(c, channel);
  const held = unwrap(await stubOf(c, channel).history(who, query));
  const page = await completePage(channel, held, new HistoryStore(c.env.DB));
  const visible = page.messages.filter((message) => mayRead(who, message));
  const next = nextPage(channel, query, held.last, page);

  c.header("Content-Type", "application/json");
  c.header("Cache-Control", "no-store");
  if (next !== null) c.header("Link", `<${next}>; rel="next"`);
  const head = JSON.stringify({ channel, seq: held.last, next });
  return c.body(`${head.slice(0, -1)},"messages":${messageFrames(channel, visible)}}`);
});

/** The address (RFC 8288 `next`) of the page that goes on in the same direction, null where this was the last. */
function nextPage(
  channel: string,
  { limit, before, after }: HistoryQuery,
  last: number,
  covered: Range,
): string | null {
  const end = Math.min(last, before === undefined ? last : before - 1);
  if (after === undefined) return covered.from > 1 && end > 0 ? path(channel, limit, `&before=${covered.from}`) : null;
  if (covered.to >= end) return null;
  return path(channel, limit, `&after=${covered.to}${before === undefined ? "" : `&before=${before}`}`);
}

const path = (channel: string, limit: number, position: string) => historyPath(channel, `limit=${limit}${position}`);
