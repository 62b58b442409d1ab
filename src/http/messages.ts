import { Hono } from "hono";
import { tryD1 } from "../shared/try-d1.ts";
import { withDeadline } from "../shared/deadline.ts";
import type { Env } from "../env.ts";
import { authorize, type Identity, mayRead } from "../auth/policy.ts";
import { completePage, type LogPage, type Page } from "../archive/page.ts";
import { endOf, type PageBounds, type Range } from "../archive/range.ts";
import { contains, filterPage } from "../archive/search.ts";
import { HistoryStore } from "../archive/store.ts";
import { completePositions, type Reader } from "../archive/times.ts";
import { isoTime, messageFrame, messageFrames, type StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_SIZE } from "../protocol/limits.ts";
import { historyPath } from "../protocol/paths.ts";
import { HistoryQuery } from "../protocol/queries.ts";
import { validate } from "../protocol/validate.ts";
import { admission } from "./admission.ts";
import { callerOf } from "./caller.ts";
import { type AppContext, channelOf, stubOf, unwrap } from "./request.ts";

/** The time limit for D1 to read a page. */
const HISTORY_TIMEOUT_MS = 15_000;

/** `GET /channels/{channel}/messages`: a page of history, oldest first, and the path of the next page. */
export const messages = new Hono<{ Bindings: Env }>().get("/channels/:channel/messages", async (c) => {
  const channel = channelOf(c);
  const query = unwrap(validate(HistoryQuery, c.req.query(), "query"));
  const who = await callerOf(c, channel);
  unwrap(await admission(c, channel, who, (settings) => authorize(who, "history", settings)));
  const bounds = await boundsOf(c, channel, who, query);
  const { log, covered } = await readPage(c, channel, who, bounds);
  const page = filterPage(covered, log.direction, query.limit, matcherFor(who, query));
  const next = nextPage(channel, query, bounds, log.last, page);

  c.header("Content-Type", "application/json");
  if (next !== null) c.header("Link", `<${next}>; rel="next"`);
  const head = JSON.stringify({ channel, seq: log.last, next });
  const frames = messageFrames(page.messages, (message) => messageFrame(channel, message));
  return c.body(`${head.slice(0, -1)},"messages":${frames}}`);
});

/**
 * Reads a page from the log and the archive. If a forward page would be empty although there are later messages,
 * because earlier ones were deleted, reads the next page instead.
 */
async function readPage(
  c: AppContext,
  channel: string,
  who: Identity,
  bounds: PageBounds,
): Promise<{ log: LogPage; covered: Page }> {
  const log = unwrap(await stubOf(c, channel).history(who, bounds));
  const covered = await fromArchive(channel, completePage(channel, bounds, log, new HistoryStore(c.env.DB)));
  const hasMore = log.direction === "forward" && covered.to < endOf(bounds, log.last);
  if (covered.messages.length > 0 || !hasMore) return { log, covered };
  return readPage(c, channel, who, { ...bounds, after: covered.to });
}

/**
 * Returns a query's bounds as positions. A search covers as many positions as a page may, because not all of them
 * match.
 */
async function boundsOf(c: AppContext, channel: string, who: Identity, query: HistoryQuery): Promise<PageBounds> {
  const { q, type, after, before, since, until } = query;
  const limit = q === undefined && type === undefined ? query.limit : MAX_PAGE_SIZE;
  const times = [since, until].filter((time) => time !== undefined);
  if (times.length === 0) return { limit, after, before };
  const inLog = unwrap(await stubOf(c, channel).locate(who, times));
  const store = new HistoryStore(c.env.DB);
  const positions = await fromArchive(channel, completePositions(channel, times, inLog, store, readerOf(who)));
  return {
    limit,
    after,
    before: until === undefined ? before : Math.min(before ?? Infinity, positions.at(-1) ?? Infinity),
    first: since === undefined ? undefined : positions[0],
  };
}

/** Returns the caller as a reader that may not see all messages, undefined for API-key clients, which may. */
function readerOf(who: Identity): Reader | undefined {
  if (who.kind === "server") return undefined;
  return { database: who.kind === "user" ? who.database : null };
}

/** Returns the result of a query of the archive. Throws `unavailable` if D1 fails or is late. */
async function fromArchive<T>(channel: string, query: Promise<T>): Promise<T> {
  const detail = "D1 does not answer, so the channel's older messages cannot be read. Try again in 1 s.";
  return unwrap(await tryD1(() => withDeadline(HISTORY_TIMEOUT_MS, query), { channel }, detail));
}

/**
 * Returns a test for the messages that the caller may see and asked for. It checks times again, because messages may
 * have arrived after the times were located.
 */
function matcherFor(who: Identity, { q, type, since = -Infinity, until = Infinity }: HistoryQuery) {
  const isFound = q === undefined ? () => true : contains(q);
  return (message: StoredMessage) =>
    mayRead(who, message) &&
    message.time >= since &&
    message.time < until &&
    (type === undefined || message.type === type) &&
    isFound(message);
}

/** Returns the path of the next page in the same direction, null after the last page. */
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
  { limit, q, type, since, until }: Omit<HistoryQuery, "after" | "before">,
  position: { after?: number; before?: number | undefined },
): string {
  const all = { limit, ...position, q, type, since: asText(since), until: asText(until) };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return historyPath(channel, new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString());
}

function asText(time: number | undefined): string | undefined {
  return time === undefined ? undefined : isoTime(time);
}
