import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { completePage } from "../../src/archive/page.ts";
import { HistoryStore } from "../../src/archive/store.ts";
import {
  archived,
  call,
  channelWithShortLog,
  history,
  newChannel,
  newOpenChannel,
  type Page,
  page,
  publish,
  publishMany,
  run,
  seqs,
  stubOf,
  walk,
} from "./support.ts";

const SERVER = { kind: "server" } as const;
const LONG_TEXT = JSON.stringify("x".repeat(60_000));

describe("a page of history", () => {
  it("holds the latest messages, oldest first, and the channel's last seq (HIS1, HIS2)", async () => {
    const channel = await newOpenChannel();
    for (let n = 1; n <= 5; n++) await publish(channel, n);
    const { seq, messages, next } = await history(channel, "?limit=2");
    expect(seq).toBe(5);
    expect(messages.map(({ payload }) => payload)).toEqual([4, 5]);
    expect(next).toBe(`/channels/${encodeURIComponent(channel)}/messages?limit=2&before=4`);
  });

  it("links the next one (HIS3)", async () => {
    const channel = await newOpenChannel();
    for (let n = 1; n <= 3; n++) await publish(channel, n);
    const path = `/channels/${encodeURIComponent(channel)}/messages`;
    const answer = await call("GET", `${path}?limit=2`);
    expect(answer.headers.get("Link")).toBe(`<${path}?limit=2&before=2>; rel="next"`);
    expect((await call("GET", path)).headers.get("Link")).toBeNull();
  });

  it("is empty and the last one if the channel has no messages", async () => {
    const channel = newChannel();
    expect(await history(channel)).toEqual({ channel, seq: 0, next: null, messages: [] });
  });

  it.each([
    ["", run(1, 30)],
    ["?limit=4", run(27, 30)],
    ["?before=11&limit=3", run(8, 10)],
    ["?before=1", []],
    ["?before=0", []],
    ["?before=999&limit=2", [29, 30]],
    ["?after=0&limit=3", [1, 2, 3]],
    ["?after=28", [29, 30]],
    ["?after=30", []],
    ["?after=999", []],
    ["?after=9&before=13", [10, 11, 12]],
    ["?after=22&before=29", run(23, 28)],
    ["?after=9&before=10", []],
    ["?before=24&limit=6", run(18, 23)],
    ["?after=17&limit=6", run(18, 23)],
  ])("covers the requested range, in the log and in the archive: %s (HIS2)", async (query, expected) => {
    const channel = await channelWithShortLog(30, 10);
    expect(seqs(await history(channel, query))).toEqual(expected);
  });

  it.each(["?limit=7", "?limit=7&after=0", "?limit=10&before=26", "?limit=1000"])(
    "returns each message exactly once by following next: %s (HIS4)",
    async (query) => {
      const channel = await channelWithShortLog(30, 10);
      const seen = (await walk(`/channels/${encodeURIComponent(channel)}/messages${query}`)).flatMap(seqs);
      expect(seen.toSorted((a, b) => a - b)).toEqual(run(1, query.includes("before") ? 25 : 30));
    },
  );

  it("links to the next page while messages are published and archived (HIS4)", async () => {
    const channel = await newOpenChannel();
    await publishMany(
      channel,
      Array.from({ length: 10 }, () => "0"),
    );
    const seen: number[] = [];
    let next: string | null = `/channels/${encodeURIComponent(channel)}/messages?limit=3&after=0`;
    for (let extra = 0; next; extra++) {
      const current: Page = await page(next);
      seen.push(...seqs(current));
      next = current.next;
      if (extra < 3) await publish(channel, extra);
      await runDurableObjectAlarm(stubOf(channel));
    }
    expect(seen).toEqual(run(1, 13));
  });

  it.each([
    ["payloads in the log", 100, { payload: LONG_TEXT }],
    ["payloads in the archive", 1, { payload: LONG_TEXT }],
    ["payloads in both", 40, { payload: LONG_TEXT }],
    ["senders in the log", 100, { client: LONG_TEXT }],
    ["senders in the archive", 1, { client: LONG_TEXT }],
    ["senders in both", 40, { client: LONG_TEXT }],
  ])("ends early if its text is too large, and next continues: %s (HIS5)", async (_, held, text) => {
    const channel = await channelWithShortLog(100, held, () => text);
    for (const direction of ["", "&after=0"]) {
      const pages = await walk(`/channels/${encodeURIComponent(channel)}/messages?limit=1000${direction}`);
      expect(pages.length).toBe(2);
      expect(pages.flatMap(seqs).toSorted((a, b) => a - b)).toEqual(run(1, 100));
    }
  });

  it("misses no message that moves from the log to the archive between the two reads", async () => {
    const channel = await channelWithShortLog(30, 10);
    const bounds = { limit: 1000, before: undefined, after: undefined };
    const held = await stubOf(channel).history(SERVER, bounds);
    if (!held.ok) throw new Error(held.fault.detail);
    await publish(channel, "moves the border");
    const complete = await completePage(channel, bounds, held.value, new HistoryStore(env.DB));
    expect(complete.messages.map(({ seq }) => seq)).toEqual(run(1, 30));
  });
});

describe("history with messages that the archive's owner has deleted (HIS9)", () => {
  /** Messages 1 … 300, each a minute after the one before. The log holds the last 50; what lies between is deleted in D1. */
  async function channelWithout(from: number, to: number, payload?: string): Promise<string> {
    const more = (seq: number) => ({ time: seq * 60_000, payload: payload ?? `"number ${seq}"` });
    const channel = await channelWithShortLog(300, 50, more);
    await env.DB.prepare("DELETE FROM messages WHERE channel = ? AND seq BETWEEN ? AND ?")
      .bind(channel, from, to)
      .run();
    return channel;
  }
  const pathOf = (channel: string, query: string) => `/channels/${encodeURIComponent(channel)}/messages?${query}`;
  const at = (minute: number) => new Date(minute * 60_000).toISOString();
  const present = (from: number, to: number, all = run(1, 300)) => all.filter((seq) => seq < from || seq > to);

  describe.each([
    ["the oldest", 1, 200],
    ["the oldest, up to a page's end", 1, 210],
    ["some in the middle", 51, 205],
    ["those before the log", 101, 250],
    ["all of the archive", 1, 250],
    ["more than a page, twice the same", 11, 12],
  ])("%s", (_, from, to) => {
    it.each(["limit=10&after=0", "limit=7&after=0", "limit=1000&after=0", "limit=10", "limit=7", "limit=1000"])(
      "returns each message once by following next, with no empty page: %s (HIS4)",
      async (query) => {
        const pages = await walk(pathOf(await channelWithout(from, to), query));
        const seen = pages.flatMap(seqs);
        expect(seen.toSorted((a, b) => a - b)).toEqual(present(from, to));
        // Where a page ends with the log, only the next one can tell that nothing is older.
        const isBorder = !query.includes("after") && from === 1 && to === 250 && query !== "limit=1000";
        expect(pages.filter(({ messages }) => messages.length === 0)).toHaveLength(
          isBorder && query === "limit=10" ? 1 : 0,
        );
      },
    );

    it.each(["limit=10&after=0", "limit=10"])(
      "can be searched by text and time, and returns each message once: %s (HIS8)",
      async (query) => {
        const channel = await channelWithout(from, to);
        const found = async (more: string) =>
          (await walk(pathOf(channel, `${query}&${more}`))).flatMap(seqs).toSorted((a, b) => a - b);
        expect(await found("q=number")).toEqual(present(from, to));
        expect(await found("q=number 1")).toEqual(present(from, to).filter((seq) => String(seq).startsWith("1")));
        for (const minute of [5, 49, 50, 51, 52, 100, 150, 204, 205, 206, 207, 250, 251, 252, 300, 301]) {
          const [since, until] = [`since=${at(minute)}`, `until=${at(minute)}`];
          expect([since, await found(since)]).toEqual([since, present(from, to).filter((seq) => seq >= minute)]);
          expect([until, await found(until)]).toEqual([until, present(from, to).filter((seq) => seq < minute)]);
        }
      },
    );
  });

  it.each([
    ["after=60&limit=5", run(206, 210), true],
    ["after=60&before=100", [], false],
    ["after=60&before=208", [206, 207], false],
    ["after=45&before=208&limit=100", [...run(46, 50), 206, 207], false],
    ["before=100&limit=5", run(46, 50), true],
    ["before=206&limit=5", run(46, 50), true],
    ["before=207&limit=5", [...run(47, 50), 206], true],
    ["before=51&limit=50", run(1, 50), false],
  ])("begins with the first message that exists: %s (HIS2)", async (query, expected, goesOn) => {
    const { messages, next } = await history(await channelWithout(51, 205), `?${query}`);
    expect(messages.map(({ options }) => options.seq)).toEqual(expected);
    expect(next !== null).toBe(goesOn);
  });

  it("ends a page early for its text on both sides of a gap (HIS5)", async () => {
    const channel = await channelWithout(51, 205, LONG_TEXT);
    for (const query of ["limit=1000&after=0", "limit=1000"]) {
      const pages = await walk(pathOf(channel, query));
      expect(pages.flatMap(seqs).toSorted((a, b) => a - b)).toEqual(present(51, 205));
      expect(pages.length).toBeLessThanOrEqual(4);
    }
  });

  it.each(["limit=10&after=0", "limit=10"])(
    "is complete even if the object lost its storage: %s (HIS4)",
    async (query) => {
      const channel = await newOpenChannel();
      const rows = present(51, 205).map((seq) => [seq, seq, "event", null, null, "0"]);
      await new HistoryStore(env.DB).append(channel, { rows: JSON.stringify(rows), clients: "[]" });
      const pages = await walk(pathOf(channel, query));
      expect(pages.flatMap(seqs).toSorted((a, b) => a - b)).toEqual(present(51, 205));
      expect(pages.filter(({ messages }) => messages.length === 0)).toEqual([]);
      expect((await publish(channel, "next")).seq).toBe(301);
    },
  );

  it("asks D1 once for a page", async () => {
    const channel = await channelWithout(1, 200);
    const statements = Object.getPrototypeOf(env.DB.prepare("SELECT 1")) as D1PreparedStatement;
    const spies = (["all", "raw", "run", "first"] as const).map((method) => vi.spyOn(statements, method));
    for (const query of ["limit=10&after=0", "limit=10&before=221"]) {
      expect(seqs(await history(channel, `?${query}`))).toHaveLength(10);
      const asked = spies.flatMap(({ mock }) => mock.calls).length;
      expect(asked).toBe(1);
      for (const spy of spies) spy.mockClear();
    }
    vi.restoreAllMocks();
  });
});

describe("asking for a page", () => {
  it.each([
    ["limit=0", "limit", 1],
    ["limit=1001", "limit", 1000],
    ["limit=ten", "limit", undefined],
    ["limit=-1", "limit", undefined],
    ["limit=1.5", "limit", undefined],
    ["limit=", "limit", undefined],
    ["before=-1", "before", undefined],
    ["after=9007199254740992", "after", Number.MAX_SAFE_INTEGER],
    ["after=99999999999999999999", "after", undefined],
  ])("names the field that is wrong, and its limit: %s (ERR1)", async (query, field, limit) => {
    const answer = await call("GET", `/channels/${encodeURIComponent(newChannel())}/messages?${query}`);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      type: "/problems/invalid-field",
      field,
      ...(limit !== undefined && { limit }),
    });
  });

  it("is allowed only if the settings allow it (AUT2)", async () => {
    const closed = await call("GET", `/channels/${encodeURIComponent(newChannel())}/messages`, undefined, null);
    expect(closed.status).toBe(401);
    const mute = encodeURIComponent(await newOpenChannel({ message_history: 0 }));
    expect((await call("GET", `/channels/${mute}/messages`, undefined, null)).status).toBe(403);
    const open = encodeURIComponent(await newOpenChannel());
    expect((await call("GET", `/channels/${open}/messages`, undefined, null)).status).toBe(200);
  });
});

describe("the archive", () => {
  it("holds each published message as a row after the alarm has run", async () => {
    const channel = newChannel();
    for (const message of ["one", { two: 2 }, null]) await publish(channel, message);
    await runDurableObjectAlarm(stubOf(channel));
    expect(await archived(channel)).toEqual([
      { seq: 1, payload: '"one"' },
      { seq: 2, payload: '{"two":2}' },
      { seq: 3, payload: "null" },
    ]);
  });
});
