import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { call, connectToMany, join, publish, request, stubOf, type TestSocket, whileAway } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

const OPEN = { anonymous_clients: true, message_history: 100, presence: true, public_messaging: { active: true } };
const pathOf = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

/** A channel that nobody has used, open by its pattern. */
async function newUnusedChannel(): Promise<string> {
  const root = `e${crypto.randomUUID()}`;
  expect((await call("PUT", pathOf(`${root}/*`), OPEN)).status).toBe(200);
  return `${root}/42`;
}

/** What a channel's object has in its storage. */
function storedIn(channel: string) {
  return runInDurableObject(stubOf(channel), async (_, { storage }) => ({
    tables: storage.sql.exec<{ name: string }>("SELECT name FROM sqlite_master").toArray(),
    alarm: await storage.getAlarm(),
  }));
}
const NOTHING = { tables: [], alarm: null };

const USES: [string, (channel: string) => Promise<unknown>][] = [
  ["a socket that joins", (channel) => join(channel, {}, { history: true })],
  [
    "a join over /rt/",
    async (channel) => {
      const socket = await connectToMany();
      socket.send({ action: "join", options: { channel } });
      expect((await socket.frame()).action).toBe("join");
    },
  ],
  ...["messages", "messages?since=2026-01-01T00:00:00Z&after=0", "messages?q=x", "presence"].map(
    (path): [string, (channel: string) => Promise<unknown>] => [
      `GET ${path}`,
      async (channel) => expect((await call("GET", `${pathOf(channel)}/${path}`, undefined, null)).status).toBe(200),
    ],
  ),
  [
    "GET stats, by an API key",
    async (channel) => expect((await call("GET", `${pathOf(channel)}/stats`)).ok).toBe(true),
  ],
  [
    "a message that does not fit into the quota",
    async (channel) => {
      await call("PUT", pathOf(channel), { ...OPEN, anonymous_bytes_per_day: 0 });
      const headers = { "Content-Type": "application/json", "Idempotency-Key": "k", "CF-Connecting-IP": channel };
      const body = JSON.stringify({ channel, message: 1 });
      expect((await request("/message", { method: "POST", headers, body })).status).toBe(429);
    },
  ],
];

describe("a channel that nobody has published to (CHA3)", () => {
  it.each(USES)("stores nothing for %s", async (_, use) => {
    const channel = await newUnusedChannel();
    for (let n = 1; n <= 2; n++) {
      await use(channel);
      expect(await storedIn(channel)).toEqual(NOTHING);
      await evictDurableObject(stubOf(channel));
    }
    expect(await storedIn(channel)).toEqual(NOTHING);
    expect((await publish(channel, "first")).seq).toBe(1);
    expect((await storedIn(channel)).tables.map(({ name }) => name)).toContain("log");
  });

  async function twoWhoJoined(channel: string): Promise<[TestSocket, TestSocket]> {
    const one = await join(channel, {}, { presence: true });
    await one.frame();
    const two = await join(channel);
    expect((await one.frame()).action).toBe("presence_update");
    return [one, two];
  }

  it("keeps its sockets over hibernation: they send, receive, and see each other leave", async () => {
    const channel = await newUnusedChannel();
    const [one, two] = await twoWhoJoined(channel);
    await evictDurableObject(stubOf(channel));
    two.send({ action: "message", payload: "first" });
    for (const socket of [one, two])
      expect(await socket.frame()).toMatchObject({ payload: "first", options: { seq: 1 } });
    await evictDurableObject(stubOf(channel));
    two.socket.close(1000);
    expect(await one.frame()).toMatchObject({ action: "presence_update", payload: { action: "leave" } });
  });

  it("delivers after hibernation while D1 is away, and refuses what it cannot decide as unavailable", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const channel = await newUnusedChannel();
    const [one, two] = await twoWhoJoined(channel);
    await evictDurableObject(stubOf(channel));
    await whileAway("channels", async () => {
      two.send({ action: "message", payload: "refused" });
      expect((await two.frame()).payload).toMatchObject({ code: "unavailable", retryAfter: 1 });
      expect((await publish(channel, "by an API key")).seq).toBe(1);
      for (const socket of [one, two]) expect((await socket.frame()).payload).toBe("by an API key");
      two.socket.close(1000);
      expect(await one.frame()).toMatchObject({ action: "presence_update", payload: { action: "leave" } });
    });
  });

  it("stores its settings together with its first message, so that they hold while D1 is away", async () => {
    const channel = await newUnusedChannel();
    const socket = await join(channel);
    socket.send({ action: "message", payload: "first" });
    await socket.frame();
    await evictDurableObject(stubOf(channel));
    expect(await stubOf(channel).lastKnownSettings()).toMatchObject({ value: { settings: OPEN } });
  });

  it("goes on from what the archive holds if its object has nothing", async () => {
    const channel = await newUnusedChannel();
    await env.DB.prepare("INSERT INTO messages (channel, seq, time, action, payload) VALUES (?, 7, 1, 'event', '1')")
      .bind(channel)
      .run();
    const socket = await join(channel);
    await evictDurableObject(stubOf(channel));
    socket.send({ action: "message", payload: "next" });
    expect(await socket.frame()).toMatchObject({ options: { seq: 8 } });
  });
});
