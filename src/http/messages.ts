import { Hono } from "hono";
import type { Env } from "../env.ts";
import { completePage } from "../history/page.ts";
import { HistoryStore } from "../history/store.ts";
import { messageFrames, type StoredMessage } from "../protocol/frames.ts";
import { historyPath } from "../protocol/paths.ts";
import { HistoryQuery, validate } from "../protocol/schemas.ts";
import { channelOf, identityOf, stubOf, unwrap } from "./request.ts";

/** `GET /channels/{channel}/messages`: a page of history, oldest first, and the address of the next one. */
export const messages = new Hono<{ Bindings: Env }>().get("/channels/:channel/messages", async (c) => {
  const channel = channelOf(c);
  const query = unwrap(validate(HistoryQuery, c.req.query(), "query"));
  const held = unwrap(await stubOf(c, channel).history(await identityOf(c), query));
  const page = await completePage(channel, held, new HistoryStore(c.env.DB));
  const next = nextPage(channel, query, held.last, page);

  c.header("Content-Type", "application/json");
  c.header("Cache-Control", "no-store");
  if (next !== null) c.header("Link", `<${next}>; rel="next"`);
  const head = JSON.stringify({ channel, seq: held.last, next });
  return c.body(`${head.slice(0, -1)},"messages":${messageFrames(channel, page)}}`);
});

/** The address (RFC 8288 `next`) of the page that goes on in the same direction, null where this was the last. */
function nextPage(channel: string, query: HistoryQuery, last: number, page: StoredMessage[]): string | null {
  const [first, final] = [page[0]?.seq, page.at(-1)?.seq];
  if (first === undefined || final === undefined) return null;
  const { limit, before, after } = query;
  if (after === undefined) return first > 1 ? historyPath(channel, `limit=${limit}&before=${first}`) : null;
  const end = Math.min(last, before === undefined ? last : before - 1);
  if (final >= end) return null;
  return historyPath(channel, `limit=${limit}&after=${final}${before === undefined ? "" : `&before=${before}`}`);
}
