import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DEFAULT_ANONYMOUS_BYTES_PER_DAY, MAX_ANONYMOUS_BYTES_PER_DAY } from "../../src/protocol/limits.ts";
import { utf8Length } from "../../src/protocol/utf8.ts";
import {
  API_KEY,
  call,
  history,
  join,
  newDatabase,
  newOpenChannel,
  publish,
  request,
  stubOf,
  tokenOf,
} from "./support.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
const CLIENT = JSON.stringify({ socketId: "", permissions: { dbo_id: 0, row_id: 0 }, extras: {} });

/** The clock of the tests stands at noon UTC, and so many milliseconds later. */
let later = 0;
beforeEach(() => {
  later = 0;
  const noon = Math.floor(Date.now() / DAY_MS) * DAY_MS + DAY_MS / 2;
  vi.spyOn(Date, "now").mockImplementation(() => noon + later);
});
afterEach(() => vi.restoreAllMocks());

/** How many bytes the quota counts for a message that was published over HTTP without credentials. */
const bytesOf = (message: unknown) => utf8Length(JSON.stringify(message)) + utf8Length(CLIENT);

async function post(channel: string, message: unknown, key: string | null = null): Promise<number> {
  return (await call("POST", "/message", { channel, message }, key)).status;
}

const set = (channel: string, settings: object) =>
  call("PUT", `/channels/${encodeURIComponent(channel)}`, {
    anonymous_clients: true,
    message_history: 100,
    public_messaging: { active: true },
    ...settings,
  });

const savedIn = (channel: string) =>
  runInDurableObject(stubOf(channel), (_, { storage }) => storage.kv.get<{ bytes: number }>("anonymous-quota"));

describe("the setting anonymous_bytes_per_day", () => {
  it("has a default that protects", async () => {
    const channel = await newOpenChannel();
    const answer = await call("GET", `/channels/${encodeURIComponent(channel)}`);
    expect(await answer.json()).toMatchObject({
      settings: { anonymous_bytes_per_day: DEFAULT_ANONYMOUS_BYTES_PER_DAY },
    });
  });

  it.each([0, 1, MAX_ANONYMOUS_BYTES_PER_DAY, null])("may be %j", async (anonymous_bytes_per_day) => {
    expect((await set(await newOpenChannel(), { anonymous_bytes_per_day })).status).toBe(200);
  });

  it.each([-1, 0.5, MAX_ANONYMOUS_BYTES_PER_DAY + 1, "1", true])("may not be %j", async (anonymous_bytes_per_day) => {
    const answer = await set(await newOpenChannel(), { anonymous_bytes_per_day });
    expect(await answer.json()).toMatchObject({ type: "/problems/invalid-field", field: "anonymous_bytes_per_day" });
  });
});

describe("the quota of anonymous clients (LIM14)", () => {
  it("counts payloads and clients in bytes of UTF-8, and stores nothing that does not fit", async () => {
    const message = "é€😀";
    const channel = await newOpenChannel({ anonymous_bytes_per_day: 2 * bytesOf(message) });
    const subscriber = await join(channel);
    expect([await post(channel, message), await post(channel, message)]).toEqual([201, 201]);
    const refused = await call("POST", "/message", { channel, message: 1 }, null);
    expect([refused.status, refused.headers.get("Retry-After")]).toEqual([429, String(DAY_MS / 2 / 1_000)]);
    expect(await refused.json()).toMatchObject({
      type: "/problems/quota-exceeded",
      limit: 2 * bytesOf(message),
      retryAfter: DAY_MS / 2 / 1_000,
    });
    expect((await history(channel)).seq).toBe(2);
    expect((await subscriber.frames(2)).map(({ payload }) => payload as unknown)).toEqual([message, message]);
    expect(subscriber.pending).toBe(0);
  });

  it("is shared by HTTP, batches and sockets", async () => {
    const channel = await newOpenChannel({ anonymous_bytes_per_day: 4 * bytesOf(1) });
    const batch = Array.from({ length: 3 }, () => ({ channel, message: 1 }));
    await call("POST", "/messages", batch, null);
    const socket = await join(channel);
    // The client of a socket message is longer: it has a socketId.
    socket.send({ action: "message", payload: 1 });
    expect((await socket.frame()).payload).toMatchObject({ code: "quota-exceeded", retryAfter: DAY_MS / 2 / 1_000 });
    const { results } = await (await call("POST", "/messages", batch, null)).json<{ results: { status: number }[] }>();
    expect(results.map(({ status }) => status)).toEqual([201, 429, 429]);
    expect((await history(channel)).seq).toBe(4);
  });

  it("does not concern users and API keys", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, anonymous_bytes_per_day: 0 });
    // The clock of this test stands at noon, and tokens expire by the real one.
    const token = await tokenOf(database, 1, { expires_in: 86_400 });
    expect(await post(channel, 1)).toBe(429);
    expect([await post(channel, 1, token), (await publish(channel, 1)).seq]).toEqual([201, 2]);
    const user = await join(channel, {}, {}, token);
    user.send({ action: "message", payload: 1 });
    expect(await user.frame()).toMatchObject({ action: "message", options: { seq: 3 } });
  });

  it("is renewed at midnight UTC", async () => {
    const channel = await newOpenChannel({ anonymous_bytes_per_day: bytesOf(1) });
    expect([await post(channel, 1), await post(channel, 1)]).toEqual([201, 429]);
    later = DAY_MS / 2 - 1;
    const refused = await call("POST", "/message", { channel, message: 1 }, null);
    expect([refused.status, refused.headers.get("Retry-After")]).toEqual([429, "1"]);
    later = DAY_MS / 2;
    expect([await post(channel, 1), await post(channel, 1)]).toEqual([201, 429]);
  });

  it("obeys a change at once, and null is no limit", async () => {
    const channel = await newOpenChannel({ anonymous_bytes_per_day: bytesOf(1) });
    expect([await post(channel, 1), await post(channel, 1)]).toEqual([201, 429]);
    await set(channel, { anonymous_bytes_per_day: 2 * bytesOf(1) });
    expect([await post(channel, 1), await post(channel, 1)]).toEqual([201, 429]);
    await set(channel, { anonymous_bytes_per_day: null });
    expect(await post(channel, 1)).toBe(201);
  });

  it("does not count a message that is sent again with its idempotency key", async () => {
    const channel = await newOpenChannel({ anonymous_bytes_per_day: 2 * bytesOf(1) });
    const batch = [{ channel, message: 1 }];
    const headers = { "Content-Type": "application/json", "Idempotency-Key": "again" };
    const send = async () => {
      const address = { "CF-Connecting-IP": crypto.randomUUID() };
      const init = { method: "POST", headers: { ...headers, ...address }, body: JSON.stringify(batch) };
      return (await (await request("/messages", init)).json<{ results: { status: number }[] }>()).results[0]?.status;
    };
    for (let n = 0; n < 5; n++) expect(await send()).toBe(201);
    expect([await post(channel, 1), await post(channel, 1)]).toEqual([201, 429]);
  });

  it("survives evictions exactly, and writes a row for each 64th of it or each 1,000 messages", async () => {
    const quota = 1_000 * bytesOf(1);
    const channel = await newOpenChannel({ anonymous_bytes_per_day: quota });
    const saved = new Set<number | undefined>();
    for (let n = 0; n < 20; n++) {
      expect(await post(channel, 1)).toBe(201);
      saved.add((await savedIn(channel))?.bytes);
      await evictDurableObject(stubOf(channel));
    }
    // One 64th of the quota is 16 messages: the first one is saved, and the 17th.
    expect([...saved]).toEqual([bytesOf(1), 17 * bytesOf(1)]);
    const batch = Array.from({ length: 1_000 }, () => ({ channel, message: 1 }));
    const { results } = await (await call("POST", "/messages", batch, null)).json<{ results: { status: number }[] }>();
    expect(results.filter(({ status }) => status === 201)).toHaveLength(980);
  });

  it("counts at most one 64th too much after an eviction, whatever API keys sent meanwhile", async () => {
    const quota = 640 * bytesOf(1);
    const channel = await newOpenChannel({ anonymous_bytes_per_day: quota });
    expect(await post(channel, 1)).toBe(201);
    const operator = await join(channel, {}, {}, API_KEY);
    for (let n = 0; n < 50; n++) operator.send({ action: "message", payload: "x".repeat(1_000) });
    await operator.frames(50);
    await evictDurableObject(stubOf(channel));
    const batch = Array.from({ length: 640 }, () => ({ channel, message: 1 }));
    const { results } = await (await call("POST", "/messages", batch, null)).json<{ results: { status: number }[] }>();
    expect(results.filter(({ status }) => status === 201).length).toBe(640 - 1 - 10);
  });

  it("has its default where an object's copy of the settings is of an older version", async () => {
    const channel = await newOpenChannel();
    expect(await post(channel, 1)).toBe(201);
    await runInDurableObject(stubOf(channel), (_, { storage }) => {
      const stored = storage.kv.get<{ holding: { settings: object } }>("settings");
      const settings = Object.fromEntries(
        Object.entries(stored?.holding.settings ?? {}).filter(([name]) => name !== "anonymous_bytes_per_day"),
      );
      storage.kv.put("settings", { holding: { ...stored?.holding, settings } });
    });
    await evictDurableObject(stubOf(channel));
    expect(await runInDurableObject(stubOf(channel), (object) => object.lastKnownSettings())).toMatchObject({
      value: { settings: { anonymous_bytes_per_day: DEFAULT_ANONYMOUS_BYTES_PER_DAY } },
    });
  });
});
