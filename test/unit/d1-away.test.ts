import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Cache } from "../../src/shared/cache.ts";
import { databaseOf, forgetDatabase, forgetSettings, decideBySettings } from "../../src/settings/known-settings.ts";
import { refuse } from "../../src/protocol/errors.ts";
import { call, connect, faultyD1, join, newChannel, newDatabase, newOpenChannel, tokenOf } from "./support.ts";

/** How far the clock of the tests is ahead, in milliseconds. */
let ahead = 0;
beforeEach(() => {
  ahead = 0;
  const now = Date.now;
  vi.spyOn(Date, "now").mockImplementation(() => now() + ahead);
  vi.spyOn(console, "error").mockImplementation(() => {});
});
afterEach(() => vi.restoreAllMocks());

const later = (send: () => unknown, milliseconds: number) =>
  new Promise((resolve) => setTimeout(() => resolve(send()), milliseconds));

/** Each with what a management request returns meanwhile. */
const FAULTS: [string, number, (send: () => Promise<unknown>) => Promise<unknown>][] = [
  ["fails", 503, () => Promise.reject(new Error("D1_ERROR: on purpose"))],
  ["hangs", 503, () => new Promise(() => {})],
  ["takes 3 s", 200, (send) => later(send, 3_000)],
];

/** A channel in use, with a user. */
async function world() {
  const database = await newDatabase();
  const channel = await newOpenChannel({ database, presence: true });
  const token = await tokenOf(database, 42);
  const path = `/channels/${encodeURIComponent(channel)}`;
  const socket = await join(channel, {}, {}, token);
  expect((await call("POST", "/message", { channel, message: 0 }, token)).status).toBe(201);
  await socket.frame();
  return { database, channel, token, path, socket };
}

/** What this isolate knows of D1 before the fault: nothing, or old copies. */
const CACHES: [string, (database: string, channel: string) => void][] = [
  ["old", () => void (ahead += 5_000)],
  [
    "empty",
    (database, channel) => {
      ahead += 5_000;
      forgetSettings(channel);
      forgetDatabase(database);
    },
  ],
];

describe.each(FAULTS)("while D1 %s", (kind, managed, fault) => {
  it.each(CACHES)("users can continue as long as anonymous clients can, with a cache that is %s", async (_, age) => {
    const { database, channel, token, path, socket } = await world();
    for (let round = 1; round <= 2; round++) {
      age(database, channel);
      const d1 = faultyD1("", fault);
      for (const key of [token, null, undefined]) {
        const post = call("POST", "/message", { channel, message: 1 }, key);
        const reads = ["messages", "presence"].map((name) => call("GET", `${path}/${name}`, undefined, key));
        const answers = await Promise.all([post, ...reads]);
        expect(answers.map(({ status }) => status)).toEqual([201, 200, 200]);
      }
      const opened = await join(channel, {}, { history: true }, token);
      expect((await opened.frame()).action).toBe("history");
      opened.socket.close();
      const sender = { database, id: 7 };
      expect((await call("POST", "/message", { channel, message: 1, sender })).status).toBe(201);
      socket.send({ action: "message", payload: "by frame" });
      while ((await socket.frame()).payload !== "by frame");
      expect((await call("GET", `${path}/stats`)).status).toBe(200);
      d1.end();
    }
  });

  it("a request that needs D1 also ends, and says when to try again", async () => {
    const { database, path, channel } = await world();
    forgetSettings(channel);
    forgetDatabase(database);
    for (let round = 1; round <= 2; round++) {
      const dbo_id = crypto.getRandomValues(new Uint32Array(1))[0];
      const d1 = faultyD1("", fault);
      const answers = await Promise.all([
        call("PUT", path, { anonymous_clients: true, presence: true, database }),
        call("GET", path),
        call("GET", "/channels?limit=1"),
        call("PUT", `/databases/db-${crypto.randomUUID()}`, { dbo_id, secret: "AUTH_SECRET" }),
        call("GET", `/databases/${database}`),
        call("GET", "/databases?limit=1"),
        call("POST", `/databases/${database}/tokens`, { id: 1 }),
      ]);
      const minted = managed === 200 ? 201 : managed;
      expect(answers.map(({ status }) => status)).toEqual([...Array.from({ length: 6 }, () => managed), minted]);
      for (const { status, headers } of answers) expect(headers.get("Retry-After")).toBe(status === 503 ? "1" : null);
      expect((await call("GET", "/health")).status).toBe(503);
      d1.end();
      ahead += 10_000;
    }
  });

  it("a channel with unknown settings is unavailable at first, and open in the end", async () => {
    const root = `u${crypto.randomUUID()}`;
    await call("PUT", `/channels/${encodeURIComponent(`${root}/*`)}`, { anonymous_clients: true });
    const channel = `${root}/42`;
    const d1 = faultyD1("", fault);
    for (let round = 1; round <= 2; round++) {
      const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/presence`, undefined, null);
      expect([answer.status, answer.headers.get("Retry-After")]).toEqual(
        kind === "takes 3 s" ? [403, null] : [503, "1"],
      );
      await expect(connect(newChannel())).rejects.toThrow(kind === "takes 3 s" ? /^401/ : /^503/);
    }
    d1.end();
  });
});

describe("settings in a Worker", () => {
  it("are reloaded about once per second while they refuse callers", async () => {
    const channel = newChannel();
    const judge = () => decideBySettings(channel, env, () => refuse("forbidden", "on purpose"));
    const d1 = faultyD1("channels", (send) => send());
    for (let round = 1; round <= 3; round++) {
      for (let n = 0; n < 10; n++) await judge();
      expect(d1.sent).toBe(round);
      ahead += 1_000;
    }
    d1.end();
  });

  it("pick up another isolate's change within 5 s, and a new auth database at once", async () => {
    const name = `db-${crypto.randomUUID()}`;
    expect(await databaseOf(name, env)).toEqual({ ok: true, value: null });
    ahead += 1_000;
    const insert = "INSERT INTO databases (name, dbo_id, config) VALUES (?, ?, ?)";
    const dbo_id = crypto.getRandomValues(new Uint32Array(1))[0];
    await env.DB.prepare(insert).bind(name, dbo_id, '{"dbo_id":1}').run();
    expect(await databaseOf(name, env)).toEqual({ ok: true, value: { dbo_id: 1, algorithm: "RS256" } });
    await env.DB.prepare("UPDATE databases SET config = ? WHERE name = ?").bind('{"dbo_id":2}', name).run();
    ahead += 5_000;
    expect(await databaseOf(name, env)).toEqual({ ok: true, value: { dbo_id: 2, algorithm: "RS256" } });
  });
});

describe("a cache", () => {
  const source = (value: string) => ({ load: async () => value, lastKnown: async () => undefined });
  /** A text that has so many characters as JSON. */
  const textOf = (chars: number) => "x".repeat(chars - 2);

  it("loads once for many simultaneous callers, and one load at a time while it fails or hangs", async () => {
    const cache = new Cache<unknown>("key", true);
    const ask = (load: () => Promise<unknown>) => {
      const loads = vi.fn<() => Promise<unknown>>(load);
      const counted = { load: loads, lastKnown: async () => undefined };
      const all = Promise.all(Array.from({ length: 1_000 }, () => cache.get("key", counted)));
      return all.then((values) => ({ values, loads: loads.mock.calls.length }));
    };
    const read = () => env.DB.prepare("SELECT 1 AS one").first("one");
    for (let round = 1; round <= 2; round++) {
      const { values, loads } = await ask(() => later(read, 50));
      expect(values.every((known) => known?.value === 1)).toBe(true);
      expect(loads).toBe(1);
      ahead += 5_000;
    }
    for (const [, , fault] of FAULTS.slice(0, 2)) {
      for (let round = 1; round <= 2; round++) {
        const { values, loads } = await ask(() => fault(read));
        expect(values.every((known) => known?.value === 1)).toBe(true);
        expect(loads).toBeLessThanOrEqual(1);
        ahead += 5_000;
      }
    }
  });

  it("holds a limited number of entries, and keeps the entries in use", async () => {
    const cache = new Cache<string>("key");
    for (let n = 0; n < 1_500; n++) {
      await cache.get(`name ${n}`, source("value"));
      await cache.get("in use", source("first"));
    }
    expect(cache.size).toBe(1_000);
    expect(await cache.get("in use", source("second"))).toEqual({ value: "first" });
    expect(await cache.get("name 0", source("loaded again"))).toEqual({ value: "loaded again" });
  });

  it("holds a limited amount of text", async () => {
    const cache = new Cache<string>("key");
    for (let n = 0; n < 200; n++) await cache.get(`name ${n}`, source("x".repeat(64 * 1024)));
    expect(cache.size).toBeLessThanOrEqual(64);
    expect(cache.size).toBeGreaterThan(50);
  });

  it("counts the text of its entries as JSON: 4 Mi characters fit, and one more evicts the oldest", async () => {
    const cache = new Cache<string>("key");
    for (let n = 0; n < 4; n++) await cache.get(`name ${n}`, source(textOf(1024 * 1024)));
    expect(cache.size).toBe(4);
    await cache.get("empty", source(""));
    expect(cache.size).toBe(4);
    expect(await cache.get("name 0", source("loaded again"))).toEqual({ value: "loaded again" });
  });

  it("counts the text that its entries have now: neither what was replaced, nor what was forgotten", async () => {
    const cache = new Cache<string>("key");
    await cache.get("a", source(textOf(3 * 1024 * 1024)));
    ahead += 5_000;
    await cache.get("a", source(textOf(1024 * 1024)));
    await cache.get("b", source(textOf(3 * 1024 * 1024)));
    expect(cache.size).toBe(2);
    cache.forget((key) => key === "b");
    await cache.get("c", source(textOf(3 * 1024 * 1024)));
    expect(cache.size).toBe(2);
  });

  it("forgets the entries that a change concerns, by key or by value, and no others", async () => {
    const cache = new Cache<string>("key");
    for (const name of ["a", "b", "c"]) await cache.get(name, source(`value of ${name}`));
    cache.forget((key, value) => key === "a" || value === "value of b");
    const values = ["a", "b", "c"].map(async (name) => (await cache.get(name, source("loaded again")))?.value);
    expect(await Promise.all(values)).toEqual(["loaded again", "loaded again", "value of c"]);
  });

  it("asks elsewhere if D1 does not answer, and keeps that answer until D1 does", async () => {
    const cache = new Cache<string>("key");
    const load = vi.fn<() => Promise<string>>(() => Promise.reject(new Error("D1_ERROR: on purpose")));
    const lastKnown = vi.fn<() => Promise<{ value: string }>>(async () => ({ value: "elsewhere" }));
    for (let n = 0; n < 3; n++) expect(await cache.get("a", { load, lastKnown })).toEqual({ value: "elsewhere" });
    expect([load.mock.calls.length, lastKnown.mock.calls.length]).toEqual([1, 1]);
    ahead += 10_000;
    expect(await cache.get("a", source("from D1"))).toEqual({ value: "from D1" });
  });
});
