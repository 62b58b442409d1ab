import { Hono } from "hono";
import { askD1 } from "../ask-d1.ts";
import { withDeadline } from "../channel/deadline.ts";
import type { Env } from "../env.ts";
import { decide, type Identity, mayRead } from "../auth/policy.ts";
import { completePage, type LogPage, type Page } from "../history/page.ts";
import { endOf, type PageBounds, type Range } from "../history/range.ts";
import { contains, pick } from "../history/search.ts";
import { HistoryStore } from "../history/store.ts";
import { completePositions, type Reader } from "../history/times.ts";
import { isoTime, messageFrames, type StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_SIZE } from "../protocol/limits.ts";
import { historyPath } from "../protocol/paths.ts";
import { HistoryQuery, validate } from "../protocol/schemas.ts";
import { admission } from "./admission.ts";
import { callerOf } from "./caller.ts";
import { type AppContext, channelOf, stubOf, unwrap } from "./request.ts";

/** How long D1 may take to read a page, in milliseconds. */
const READ_DEADLINE = 15_000;

/** `GET /channels/{channel}/messages`: a page of history, oldest first, and the address of the next one. */
export const messages = new Hono<{ Bindings: Env }>().get("/channels/:channel/messages", async (c) => {
  const channel = channelOf(c);
  const query = unwrap(validate(HistoryQuery, c.req.query(), "query"));
  const who = await callerOf(c, channel);
  unwrap(await admission(c, channel, who, (settings) => decide(who, "history", settings)));
  const bounds = await boundsOf(c, channel, who, query);
  const { held, covered } = await readPage(c, channel, who, bounds);
  const page = pick(covered, held.direction, query.limit, wantedBy(who, query));
  const next = nextPage(channel, query, bounds, held.last, page);

  c.header("Content-Type", "application/json");
  if (next !== null) c.header("Link", `<${next}>; rel="next"`);
  const head = JSON.stringify({ channel, seq: held.last, next });
  return c.body(`${head.slice(0, -1)},"messages":${messageFrames(channel, page.messages)}}`);
});

/** Reads a page from the log and the archive. Where everything before the log was deleted, it begins in the log. */
async function readPage(
  c: AppContext,
  channel: string,
  who: Identity,
  bounds: PageBounds,
): Promise<{ held: LogPage; covered: Page }> {
  const held = unwrap(await stubOf(c, channel).history(who, bounds));
  const covered = await askArchive(channel, completePage(channel, bounds, held, new HistoryStore(c.env.DB)));
  const goesOn = held.direction === "forward" && covered.to < endOf(bounds, held.last);
  if (covered.messages.length > 0 || !goesOn) return { held, covered };
  return readPage(c, channel, who, { ...bounds, after: covered.to });
}

/** A query's bounds as positions. A search covers more of them than it shows, and yet not more than a page may. */
async function boundsOf(c: AppContext, channel: string, who: Identity, query: HistoryQuery): Promise<PageBounds> {
  const { q, after, before, since, until } = query;
  const limit = q === undefined ? query.limit : MAX_PAGE_SIZE;
  const times = [since, until].filter((time) => time !== undefined);
  if (times.length === 0) return { limit, after, before };
  const inLog = unwrap(await stubOf(c, channel).locate(who, times));
  const store = new HistoryStore(c.env.DB);
  const positions = await askArchive(channel, completePositions(channel, times, inLog, store, readerOf(who)));
  return {
    limit,
    after,
    before: until === undefined ? before : Math.min(before ?? Infinity, positions.at(-1) ?? Infinity),
    first: since === undefined ? undefined : positions[0],
  };
}

/** Whose messages positions may depend on, undefined where the caller may see all. */
function readerOf(who: Identity): Reader | undefined {
  if (who.kind === "server") return undefined;
  return { database: who.kind === "user" ? who.database : null };
}

/** What D1 tells of a channel's older messages. */
async function askArchive<T>(channel: string, answer: Promise<T>): Promise<T> {
  const detail = "The channel's older messages cannot be read just now.";
  return unwrap(await askD1(() => withDeadline(READ_DEADLINE, answer), { channel }, detail));
}

/** What of a page its reader may see and asked for. Times are looked at again: more may have come since they were located. */
function wantedBy(who: Identity, { q, since = -Infinity, until = Infinity }: HistoryQuery) {
  const isFound = q === undefined ? () => true : contains(q);
  return (message: StoredMessage) =>
    mayRead(who, message) && message.time >= since && message.time < until && isFound(message);
}

/** The address (RFC 8288 `next`) of the page that goes on in the same direction, null where this was the last. */
function nextPage(
  channel: string,
  { after, before, ...query }: HistoryQuery,
  bounds: PageBounds,
  last: number,
  covered: Range,
): string | null {
  const { first = 1 } = bounds;
  const end = endOf(bounds, last);
  if (after === undefined) {
    return covered.from > first && end >= first ? pathOf(channel, query, { before: covered.from }) : null;
  }
  return covered.to < end ? pathOf(channel, query, { after: covered.to, before }) : null;
}

function pathOf(
  channel: string,
  { limit, q, since, until }: Omit<HistoryQuery, "after" | "before">,
  position: { after?: number; before?: number | undefined },
): string {
  const all = { limit, ...position, q, since: asText(since), until: asText(until) };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return historyPath(channel, new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString());
}

function asText(time: number | undefined): string | undefined {
  return time === undefined ? undefined : isoTime(time);
}
