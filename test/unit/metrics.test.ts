import { runInDurableObject } from "cloudflare:test";
import type { Submission } from "../../src/channel/publisher.ts";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { MAX_UNCONFIRMED_CHARACTERS } from "../../src/channel/backpressure.ts";
import operating from "../../docs/guides/operating.md?raw";
import { Metrics } from "../../src/channel/metrics.ts";
import { app } from "../../src/http/app.ts";
import { Channel } from "../../src/index.ts";
import { join, newChannel, newOpenChannel, stubOf, whileAway } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

/** A dataset that keeps what is written, as the local one drops it. */
function dataset() {
  const points: AnalyticsEngineDataPoint[] = [];
  return { points, writeDataPoint: (point?: AnalyticsEngineDataPoint) => void (point && points.push(point)) };
}

/** What operators read: the columns' names, in their order. */
const NAMES = [...operating.matchAll(/^\| `double\d` \| (\w+) +\|/gm)].map(([, name = ""]) => name);

function named(point: AnalyticsEngineDataPoint | undefined): Record<string, number> {
  expect(point?.doubles).toHaveLength(NAMES.length);
  return Object.fromEntries(NAMES.map((name, index) => [name, point?.doubles?.[index] ?? NaN]));
}

/** A channel's object that writes its numbers to a dataset, and a way to let it publish. */
function within(
  channel: string,
  act: (object: Channel, points: AnalyticsEngineDataPoint[], state: DurableObjectState) => Promise<void>,
) {
  return runInDurableObject(stubOf(channel), async (_, state) => {
    const METRICS = dataset();
    await act(new Channel(state, { ...env, METRICS }), METRICS.points, state);
  });
}

/** Returns the submission of an API-key client that publishes these texts. */
const submit = (...texts: string[]): Submission[] => [
  {
    who: { kind: "server" },
    messages: texts.map((text) => ({ payload: JSON.stringify(text), client: null, database: null, type: null })),
  },
];

describe("a channel's numbers", () => {
  it("are one data point per archiving, for any number of messages", async () => {
    const channel = await newOpenChannel();
    await join(channel);
    await join(channel);
    await within(channel, async (object, points) => {
      await object.publish(submit("one", "two", "three"));
      await object.publish(submit("four"));
      expect(points).toEqual([]);
      await object.alarm();
      expect(points).toHaveLength(1);
      expect(points[0]).toMatchObject({ indexes: [channel], blobs: ["channel", channel] });
      const counted = { archived: 4, deliveries: 8, refusals: 0, dropped: 0, joined: 2, backlog: 0, failures: 0 };
      expect(named(points[0])).toMatchObject(counted);
      await object.alarm();
      expect(points).toHaveLength(1);
      await object.publish(submit("five"));
      await object.alarm();
      expect(named(points[1])).toMatchObject({ archived: 1, deliveries: 2 });
    });
  });

  it("show how old the backlog is while D1 is down, and when it is gone", async () => {
    const channel = newChannel();
    const began = Date.now();
    await within(channel, async (object, points) => {
      vi.spyOn(console, "error").mockImplementation(() => {});
      await object.publish(submit("one", "two"));
      await whileAway("messages", async () => {
        vi.spyOn(Date, "now").mockImplementation(() => began + 30_000);
        await object.alarm();
        await object.alarm();
      });
      await object.alarm();
      expect(points.map(named)).toMatchObject([
        { archived: 0, backlog: 2, failures: 1 },
        { archived: 0, backlog: 2, failures: 2 },
        { archived: 2, backlog: 0, failures: 0 },
      ]);
      expect(named(points[2])["waited"]).toBeGreaterThan(25_000);
    });
  });

  it("count refused frames, and sockets that were closed as slow (CON7)", async () => {
    const channel = await newOpenChannel();
    const client = await join(channel);
    await within(channel, async (object, points, state) => {
      const [socket] = state.getWebSockets();
      if (!socket) throw new Error("the channel has no socket");
      await object.webSocketMessage(socket, "no JSON");
      const long = "x".repeat(60_000);
      const count = Math.ceil((MAX_UNCONFIRMED_CHARACTERS + 1_000_000) / long.length);
      await object.publish(submit(...Array.from({ length: count }, () => long)));
      await object.alarm();
      expect(named(points[0])).toMatchObject({ archived: count, refusals: 1, dropped: 1, joined: 0 });
    });
    expect((await client.frame()).action).toBe("error");
  });

  it("have an index within Analytics Engine's limit, and the whole channel name", () => {
    const [points, name] = [dataset(), "x".repeat(128)];
    const metrics = new Metrics(name, points);
    metrics.deliveries += 1;
    metrics.report({ joined: 0, backlog: 0, failures: 0 });
    expect(points.points[0]).toMatchObject({ indexes: ["x".repeat(96)], blobs: ["channel", name] });
  });
});

describe("a refused request", () => {
  it("is one data point, by code and route; a successful request is none", async () => {
    const METRICS = dataset();
    await app.request("/channels/news/messages?limit=0", {}, { ...env, METRICS });
    await app.request("/nothing", { method: "PUT" }, { ...env, METRICS });
    await app.request("/problems/not-found", {}, { ...env, METRICS });
    expect(METRICS.points).toEqual([
      {
        indexes: ["invalid-field"],
        blobs: ["refusal", "invalid-field", "GET", "/channels/:channel/messages"],
        doubles: [400],
      },
      { indexes: ["not-found"], blobs: ["refusal", "not-found", "PUT", "/*"], doubles: [404] },
    ]);
  });
});
