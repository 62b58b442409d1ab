import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { completePage } from "../../src/history/page.ts";
import { HistoryStore } from "../../src/history/store.ts";
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

  it("of a channel without messages is empty and the last", async () => {
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
  ])("covers what it is asked for, on both sides of the log's border: %s (HIS2)", async (query, expected) => {
    const channel = await channelWithShortLog(30, 10);
    expect(seqs(await history(channel, query))).toEqual(expected);
  });

  it.each(["?limit=7", "?limit=7&after=0", "?limit=10&before=26", "?limit=1000"])(
    "leads by next to each message exactly once: %s (HIS4)",
    async (query) => {
      const channel = await channelWithShortLog(30, 10);
      const seen = (await walk(`/channels/${encodeURIComponent(channel)}/messages${query}`)).flatMap(seqs);
      expect(seen.toSorted((a, b) => a - b)).toEqual(run(1, query.includes("before") ? 25 : 30));
    },
  );

  it("leads on while messages are published and archived meanwhile (HIS4)", async () => {
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
    ["the log", 100],
    ["the archive", 1],
    ["both", 40],
  ])("ends early where its text is too much, and next goes on: from %s (HIS5)", async (_, held) => {
    const channel = await channelWithShortLog(100, held, () => ({ payload: LONG_TEXT }));
    for (const direction of ["", "&after=0"]) {
      const pages = await walk(`/channels/${encodeURIComponent(channel)}/messages?limit=1000${direction}`);
      expect(pages.length).toBe(2);
      expect(pages.flatMap(seqs).toSorted((a, b) => a - b)).toEqual(run(1, 100));
    }
  });

  it("misses nothing that moves from the log to the archive between the two readings", async () => {
    const channel = await channelWithShortLog(30, 10);
    const held = await stubOf(channel).history(SERVER, { limit: 1000, before: undefined, after: undefined });
    if (!held.ok) throw new Error(held.fault.detail);
    await publish(channel, "moves the border");
    const complete = await completePage(channel, held.value, new HistoryStore(env.DB));
    expect(complete.messages.map(({ seq }) => seq)).toEqual(run(1, 30));
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

  it("is for those whom the settings let (AUT2)", async () => {
    const closed = await call("GET", `/channels/${encodeURIComponent(newChannel())}/messages`, undefined, null);
    expect(closed.status).toBe(401);
    const mute = encodeURIComponent(await newOpenChannel({ message_history: 0 }));
    expect((await call("GET", `/channels/${mute}/messages`, undefined, null)).status).toBe(403);
    const open = encodeURIComponent(await newOpenChannel());
    expect((await call("GET", `/channels/${open}/messages`, undefined, null)).status).toBe(200);
  });
});

describe("the archive", () => {
  it("holds what was published, row for row, once its alarm ran", async () => {
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
