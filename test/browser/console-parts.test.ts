import { describe, expect, it } from "vitest";
import type { ServerFrame } from "../../src/client/client.ts";
import { Feed, KEPT, matches, WAITING } from "../../src/pages/console/feed.ts";
import { mistakeIn } from "../../src/pages/console/json.ts";
import { hrefOf, parseRoute } from "../../src/pages/console/route.ts";
import { ceilingOf } from "../../src/pages/console/scale.ts";

const run = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

const frame = (payload: unknown): ServerFrame => ({
  action: "event",
  options: { channel: "room", seq: 1, time: "2026-11-24T00:00:00.000Z" },
  payload,
});
const frames = (from: number, to: number) => run(from, to).map(frame);
const payloadsOf = ({ entries }: Feed) => entries.map((entry) => entry.frame.payload);

describe("the console's feed of frames", () => {
  it("keeps the latest ones, and no more than so many", () => {
    const feed = new Feed();
    for (const n of run(1, KEPT + 10)) feed.add([frame(n)], n);
    expect(payloadsOf(feed)).toEqual(run(11, KEPT + 10));
    feed.add(frames(1, KEPT + 5), 0);
    expect(payloadsOf(feed)).toEqual(run(6, KEPT + 5));
  });

  it("gives each frame a number that stays, however many come", () => {
    const feed = new Feed();
    feed.add(frames(1, 3), 0);
    feed.pause();
    feed.add(frames(4, 5), 0);
    feed.resume();
    expect(feed.entries.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
  });

  it("shows nothing new while it is paused, and all of it on going on", () => {
    const feed = new Feed();
    feed.add(frames(1, 2), 0);
    feed.pause();
    feed.add(frames(3, 5), 0);
    expect([payloadsOf(feed), feed.paused, feed.waiting, feed.dropped]).toEqual([[1, 2], true, 3, 0]);
    feed.resume();
    expect([payloadsOf(feed), feed.paused, feed.waiting]).toEqual([[1, 2, 3, 4, 5], false, 0]);
  });

  it("lets no more wait than it can hold, drops the oldest, and counts them", () => {
    const feed = new Feed();
    feed.pause();
    feed.add(frames(1, WAITING), 0);
    feed.add(frames(WAITING + 1, WAITING + 7), 0);
    expect([feed.waiting, feed.dropped]).toEqual([WAITING, 7]);
    feed.resume();
    expect(payloadsOf(feed)).toEqual(run(WAITING + 8 - KEPT, WAITING + 7));
    feed.pause();
    expect(feed.dropped).toBe(0);
  });

  it.each([
    ["", "", true],
    ["event", "", true],
    ["message", "", false],
    ["", "LEFT", true],
    ["event", "right", false],
    ["", '"text":"on', true],
  ])("is filtered by action %s and text %s", (action, text, expected) => {
    const entry = { id: 1, at: 0, frame: frame({ text: "On your left" }) };
    expect(matches(entry, action, text)).toBe(expected);
  });
});

describe("the console's look at JSON", () => {
  it.each(["1", '"text"', "null", '{"a":[1,2,{"b":"\\n"}]}', " [ ] "])("takes what the server takes: %s", (text) => {
    expect(mistakeIn(text)).toBeUndefined();
  });

  it.each([
    ['{"a":1,}', 1, 8],
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3],
    ["{'a': 1}", 1, 2],
    ["[1, 2", 1, 6],
    ['{"a": 1} 2', 1, 10],
    ["", 1, 1],
    ["// no comments\n1", 1, 1],
    ['"line\nbreak"', 1, 1],
  ])("says in which line and column a mistake is: %j", (text, line, column) => {
    expect(mistakeIn(text)).toMatchObject({ line, column });
  });

  it.each(["01", "1.", ".5", "+1", "NaN", "'a'", "tru", '"\\x"', '"\t"', "[1 2]", '{"a" 1}', "\u00a01"])(
    "finds a mistake in whatever JSON.parse does not take: %j",
    (text) => {
      expect(mistakeIn(text)?.reason).toMatch(/\w/);
    },
  );

  it.each([
    ["1e999", /IEEE 754/],
    ["[".repeat(65) + "]".repeat(65), /64 levels/],
    [`"${"x".repeat(70_000)}"`, /65536 bytes/],
  ])("knows the server's bounds: %#", (text, reason) => {
    expect(mistakeIn(text)).toEqual({ reason: expect.stringMatching(reason) });
  });
});

describe("the console's addresses", () => {
  it("name a channel whatever is in its name, and a view", () => {
    for (const channel of ["room/42", "a,b;c:d@e+f=g~h", "x"]) {
      const route = parseRoute(hrefOf(channel, "history"));
      expect(route).toEqual({ page: "channel", channel, tab: "history" });
    }
  });

  it.each([
    ["", { page: "channels" }],
    ["#/new", { page: "new" }],
    ["#/channels/", { page: "channels" }],
    ["#/channels/%E0%A4%A/live", { page: "channels" }],
    ["#/channels/room", { page: "channel", channel: "room", tab: "live" }],
    ["#/channels/room/nonsense", { page: "channel", channel: "room", tab: "live" }],
    ["#/channels/room%2F*/live", { page: "channel", channel: "room/*", tab: "settings" }],
  ])("lead somewhere, whatever is typed: %s", (hash, route) => {
    expect(parseRoute(hash)).toEqual(route);
  });
});

describe("a chart's scale", () => {
  it.each([
    [[], 1],
    [[0], 1],
    [[1], 1],
    [[3, null], 5],
    [[62], 100],
    [[100], 100],
    [[101], 200],
    [[9_999], 10_000],
  ])("ends with a round number that nothing passes: %j → %d", (values, top) => {
    expect(ceilingOf(values.map((value, at) => ({ at, value })))).toBe(top);
  });
});
