import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { pageRange } from "../../src/archive/range.ts";
import { HistoryStore } from "../../src/archive/store.ts";
import { MAX_PAGE_SIZE } from "../../src/protocol/limits.ts";
import {
  call,
  channelWithShortLog,
  history,
  newChannel,
  type Page,
  page,
  publish,
  publishMany,
  run,
  seqs,
  stubOf,
  walk,
} from "./support.ts";

const START = Date.UTC(2026, 10, 24);
const MINUTE = 60_000;
/** The time of message `seq`: three in each minute, all at once. */
const timeOf = (seq: number) => START + Math.floor((seq - 1) / 3) * MINUTE;
const at = (minute: number, milliseconds = 0) => new Date(START + minute * MINUTE + milliseconds).toISOString();

/** Messages 1 … 30, three a minute; every fourth says "needle", and the log holds the last few. */
const haystack = (held: number, more: object = {}) =>
  channelWithShortLog(30, held, (seq) => ({
    time: timeOf(seq),
    payload: JSON.stringify(seq % 4 === 0 ? { text: `a Needle, number ${seq}` } : `hay ${seq}`),
    ...more,
  }));

const pathOf = (channel: string, query: string) => `/channels/${encodeURIComponent(channel)}/messages?${query}`;

async function found(channel: string, query: string): Promise<number[]> {
  const pages = await walk(pathOf(channel, query));
  return pages.flatMap(seqs).toSorted((a, b) => a - b);
}

describe("searching history by text", () => {
  it.each([
    ["assemble", '"Avengers, assemble!"', true],
    ["AVENGERS", '"Avengers, assemble!"', true],
    ["avengers", '"AVENGERS"', true],
    ["çÉ", '"façéde"', true],
    ['"text":"on your', '{"text":"On your left"}', true],
    ['\\"quoted\\"', String.raw`"\"quoted\""`, true],
    ["null", "null", true],
    ["100%", '"100 percent"', false],
    ["100%", '"100% sure"', true],
    ["a_b", '"axb"', false],
    ["*", '"no star"', false],
    ["a?c", '"abc"', false],
    [".*", '"anything"', false],
    ["' OR 1=1 --", '"anything"', false],
  ])(
    "is literal, wherever in the payload's JSON text, in whatever case: %s in %s (HIS6)",
    async (q, payload, isThere) => {
      const channel = newChannel();
      await publishMany(channel, [payload]);
      expect(await found(channel, `q=${encodeURIComponent(q)}`)).toEqual(isThere ? [1] : []);
    },
  );

  it.each(
    [0, 10, 30].flatMap((held) => ["limit=2", "limit=2&after=0", "limit=100"].map((query) => [query, held] as const)),
  )(
    "returns each match exactly once by following next: %s, with %d messages in the log (HIS4, HIS6)",
    async (query, held) => {
      const channel = await haystack(Math.max(held, 1));
      const pages = await walk(pathOf(channel, `${query}&q=needle`));
      expect(pages.flatMap(seqs).toSorted((a, b) => a - b)).toEqual([4, 8, 12, 16, 20, 24, 28]);
      expect(Math.max(...pages.map((one) => one.messages.length))).toBeLessThanOrEqual(query.includes("100") ? 7 : 2);
    },
  );

  it("links to the next page while messages are published and archived (HIS4)", async () => {
    const channel = await haystack(10);
    const seen: number[] = [];
    let next: string | null = pathOf(channel, "q=needle&limit=2&after=0");
    for (let extra = 0; next; extra++) {
      const current: Page = await page(next);
      seen.push(...seqs(current));
      next = current.next;
      if (extra < 3) await publish(channel, `needle ${extra}`);
      await runDurableObjectAlarm(stubOf(channel));
    }
    expect(seen).toEqual([4, 8, 12, 16, 20, 24, 28, 31, 32, 33]);
  });

  it("searches a limited number of messages per request, and continues from there even if it finds nothing (HIS7)", async () => {
    const channel = await channelWithShortLog(2 * MAX_PAGE_SIZE + 100, 500, (seq) => ({
      payload: seq === 3 ? '"needle"' : "0",
    }));
    const pages = await walk(pathOf(channel, "q=needle&limit=5"));
    expect(pages.map(seqs)).toEqual([[], [], [3]]);
    expect(pages[0]?.next).toBe(pathOf(channel, `limit=5&before=${MAX_PAGE_SIZE + 101}&q=needle`));
  });

  it("finds no messages that the caller may not see, and continues past them (EVT3)", async () => {
    const channel = await haystack(10, { database: "others" });
    await publish(channel, "a needle for all");
    const asStranger = async (path: string) => (await call("GET", path, undefined, null)).json<Page>();
    const pages = await walk(pathOf(channel, "q=needle&limit=1&after=0"), asStranger);
    expect(pages.flatMap(seqs)).toEqual([31]);
    expect(await found(channel, "q=needle")).toHaveLength(8);
  });
});

describe("history by time", () => {
  it.each([1, 10, 30].flatMap((held) => ["limit=4", "limit=4&after=0"].map((query) => [query, held] as const)))(
    "includes since and excludes until, each message once: %s, with %d messages in the log (HIS8)",
    async (query, held) => {
      const channel = await haystack(held);
      for (const [times, expected] of [
        [`since=${at(3)}`, run(10, 30)],
        [`since=${at(3, 1)}`, run(13, 30)],
        [`until=${at(3)}`, run(1, 9)],
        [`until=${at(3, 1)}`, run(1, 12)],
        [`since=${at(2)}&until=${at(9)}`, run(7, 27)],
        [`since=${at(-60)}&until=${at(60)}`, run(1, 30)],
        [`since=${at(6)}&until=${at(7)}`, run(19, 21)],
        [`since=${at(7)}&until=${at(6)}`, []],
        [`since=${at(60)}`, []],
        [`until=${at(-60)}`, []],
        [`since=${at(2)}&until=${at(9)}&q=needle`, [8, 12, 16, 20, 24]],
      ] as const) {
        expect([times, await found(channel, `${query}&${times}`)]).toEqual([times, expected]);
      }
    },
  );

  it.each(["limit=4", "limit=4&after=0"])("reads only the messages of that time: %s (HIS8)", async (query) => {
    const channel = await haystack(10);
    const { messages, next } = await history(channel, `?${query}&since=${at(4)}&until=${at(5)}`);
    expect([messages.map(({ options }) => options.seq), next]).toEqual([[13, 14, 15], null]);
    expect(pageRange({ limit: 100, before: 16, first: 13 }, 30)).toMatchObject({ from: 13, to: 15 });
  });

  it("stays within the requested positions, too (HIS2, HIS8)", async () => {
    const channel = await haystack(10);
    expect(await found(channel, `since=${at(3)}&before=15`)).toEqual(run(10, 14));
    expect(await found(channel, `after=20&until=${at(8)}&limit=2`)).toEqual(run(21, 24));
  });

  it("accepts a time with any offset", async () => {
    const channel = await haystack(10);
    expect(await found(channel, `since=${encodeURIComponent("2026-11-24T01:09:00+01:00")}`)).toEqual(run(28, 30));
  });

  it("is empty and the last page if the channel has no messages", async () => {
    const channel = newChannel();
    expect(await history(channel, `?since=${at(0)}&until=${at(1)}&q=x`)).toEqual({
      channel,
      seq: 0,
      next: null,
      messages: [],
    });
  });

  it("is found even if the oldest messages were deleted", async () => {
    const channel = await haystack(10);
    await env.DB.prepare("DELETE FROM messages WHERE channel = ? AND seq <= 14").bind(channel).run();
    expect(await new HistoryStore(env.DB).positionsAt(channel, [START, timeOf(17)], 21)).toEqual([15, 16]);
  });
});

describe("asking for a search", () => {
  it.each([
    ["q=", "q", 1],
    [`q=${"x".repeat(257)}`, "q", 256],
    ["since=yesterday", "since", undefined],
    ["since=2026-11-24", "since", undefined],
    ["since=2026-13-01T00:00:00Z", "since", undefined],
    ["until=", "until", undefined],
    ["until=1790000000", "until", undefined],
    ["until=1969-12-31T23:59:59Z", "until", undefined],
    ["until=9999-12-31T23:59:59-10:00", "until", undefined],
  ])("names the field that is wrong, and its limit: %s (ERR1)", async (query, field, limit) => {
    const answer = await call("GET", pathOf(newChannel(), query));
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ field, ...(limit !== undefined && { limit }) });
  });

  it.each(["q=x", "since=2026-11-24T00:00:00Z"])(
    "is allowed only for callers that may read history: %s (AUT2)",
    async (query) => {
      expect((await call("GET", pathOf(newChannel(), query), undefined, null)).status).toBe(401);
    },
  );
});
