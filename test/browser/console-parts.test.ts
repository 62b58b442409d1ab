import { describe, expect, it } from "vitest";
import type { ServerFrame } from "../../packages/client/src/client.ts";
import { Feed, MAX_SHOWN, matches, MAX_WAITING } from "../../src/pages/console/feed.ts";
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
  it("keeps the latest frames, up to its limit", () => {
    const feed = new Feed();
    for (const n of run(1, MAX_SHOWN + 10)) feed.add([frame(n)], n);
    expect(payloadsOf(feed)).toEqual(run(11, MAX_SHOWN + 10));
    feed.add(frames(1, MAX_SHOWN + 5), 0);
    expect(payloadsOf(feed)).toEqual(run(6, MAX_SHOWN + 5));
  });

  it("gives each frame a number that never changes", () => {
    const feed = new Feed();
    feed.add(frames(1, 3), 0);
    feed.pause();
    feed.add(frames(4, 5), 0);
    feed.resume();
    expect(feed.entries.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
  });

  it("shows no new frames while it is paused, and all of them after Resume", () => {
    const feed = new Feed();
    feed.add(frames(1, 2), 0);
    feed.pause();
    feed.add(frames(3, 5), 0);
    expect([payloadsOf(feed), feed.paused, feed.waiting, feed.dropped]).toEqual([[1, 2], true, 3, 0]);
    feed.resume();
    expect([payloadsOf(feed), feed.paused, feed.waiting]).toEqual([[1, 2, 3, 4, 5], false, 0]);
  });

  it("drops the oldest waiting frames beyond its limit, and counts them", () => {
    const feed = new Feed();
    feed.pause();
    feed.add(frames(1, MAX_WAITING), 0);
    feed.add(frames(MAX_WAITING + 1, MAX_WAITING + 7), 0);
    expect([feed.waiting, feed.dropped]).toEqual([MAX_WAITING, 7]);
    feed.resume();
    expect(payloadsOf(feed)).toEqual(run(MAX_WAITING + 8 - MAX_SHOWN, MAX_WAITING + 7));
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
  ])("can be filtered by action %s and text %s", (action, text, expected) => {
    const entry = { id: 1, at: 0, frame: frame({ text: "On your left" }) };
    expect(matches(entry, action, text)).toBe(expected);
  });
});

describe("the console's JSON check", () => {
  it.each(["1", '"text"', "null", '{"a":[1,2,{"b":"\\n"}]}', " [ ] "])(
    "accepts JSON that the server accepts: %s",
    (text) => {
      expect(mistakeIn(text)).toBeUndefined();
    },
  );

  it.each([
    ['{"a":1,}', 1, 8],
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3],
    ["{'a': 1}", 1, 2],
    ["[1, 2", 1, 6],
    ['{"a": 1} 2', 1, 10],
    ["", 1, 1],
    ["// no comments\n1", 1, 1],
    ['"line\nbreak"', 1, 1],
  ])("reports the line and column of an error: %j", (text, line, column) => {
    expect(mistakeIn(text)).toMatchObject({ line, column });
  });

  it.each(["01", "1.", ".5", "+1", "NaN", "'a'", "tru", '"\\x"', '"\t"', "[1 2]", '{"a" 1}', "\u00a01"])(
    "finds an error in every text that JSON.parse refuses: %j",
    (text) => {
      expect(mistakeIn(text)?.reason).toMatch(/\w/);
    },
  );

  it.each([
    ["1e999", /IEEE 754/],
    ["[".repeat(65) + "]".repeat(65), /64 levels/],
    [`"${"x".repeat(70_000)}"`, /65536 bytes/],
  ])("knows the server's limits: %#", (text, reason) => {
    expect(mistakeIn(text)).toEqual({ reason: expect.stringMatching(reason) });
  });
});

describe("the console's URLs", () => {
  it("hold any channel name, and a view", () => {
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
  ])("open a page, even if they are not valid: %s", (hash, route) => {
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
  ])("ends with a round number that no point exceeds: %j → %d", (values, top) => {
    expect(ceilingOf(values.map((value, at) => ({ at, value })))).toBe(top);
  });
});
