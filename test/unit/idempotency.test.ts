import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { KEY_LIFETIME_MS, IdempotencyKeys } from "../../src/channel/idempotency-keys.ts";
import { MessageLog } from "../../src/channel/message-log.ts";
import { LOG_CAPACITY, MAX_STORAGE_BYTES_FOR_KEYS, MAX_IDEMPOTENCY_KEY_CHARACTERS } from "../../src/protocol/limits.ts";
import {
  API_KEY,
  call,
  history,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  publish,
  publishMany,
  request,
  stubOf,
  tokenOf,
  whileAway,
} from "./support.ts";

afterEach(() => vi.restoreAllMocks());

function post(path: string, body: unknown, key: string, authorization = `Bearer ${API_KEY}`): Promise<Response> {
  const headers = new Headers({ "Content-Type": "application/json", "Idempotency-Key": key });
  if (authorization !== "") headers.set("Authorization", authorization);
  return request(path, { method: "POST", headers, body: JSON.stringify(body) });
}

const send = (channel: string, message: unknown, key: string, authorization?: string) =>
  post("/message", { channel, message }, key, authorization);

describe("the same idempotency key on the same channel (IDM1)", () => {
  it("stores one message, and returns the same answer each time", async () => {
    const channel = await newOpenChannel();
    const subscriber = await join(channel);
    const first = await send(channel, "once", "k1");
    expect(first.status).toBe(201);
    const place = await first.json();
    for (let repeat = 0; repeat < 3; repeat++) {
      const again = await send(channel, "once", "k1");
      expect([again.status, await again.json()]).toEqual([201, place]);
    }
    expect(await (await send(channel, "other", "k2")).json()).toMatchObject({ seq: 2 });
    expect((await subscriber.frames(2)).map(({ payload }) => payload)).toEqual(["once", "other"]);
    expect((await history(channel)).messages).toHaveLength(2);
  });

  it("stores one message even if the requests arrive at the same time", async () => {
    const channel = newChannel();
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(channel, "once", "k")));
    const places = await Promise.all(answers.map((answer) => answer.json()));
    expect(new Set(places.map((place) => JSON.stringify(place))).size).toBe(1);
    expect((await history(channel)).seq).toBe(1);
  });

  it("stores one message even if the object was evicted in between", async () => {
    const channel = newChannel();
    await send(channel, "once", "k");
    await evictDurableObject(stubOf(channel));
    expect(await (await send(channel, "once", "k")).json()).toMatchObject({ seq: 1 });
    expect((await history(channel)).seq).toBe(1);
  });

  it("with another message is refused, and nothing is stored (IDM2)", async () => {
    const channel = newChannel();
    await send(channel, { a: 1 }, "k");
    const answer = await send(channel, { a: 2 }, "k");
    expect(answer.status).toBe(422);
    expect(await answer.json()).toMatchObject({ type: "/problems/key-reused", field: "Idempotency-Key" });
    expect((await history(channel)).seq).toBe(1);
  });

  it("applies to one channel and one kind of caller only", async () => {
    const [one, two] = [await newOpenChannel(), await newOpenChannel()];
    await send(one, "a", "k");
    expect(await (await send(two, "b", "k")).json()).toMatchObject({ seq: 1 });
    expect(await (await send(one, "c", "k", "")).json()).toMatchObject({ seq: 2 });
  });

  it("applies to one user only, with any characters in ids and keys (IDM3)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const [one, two] = [await tokenOf(database, "1"), await tokenOf(database, "1:a")];
    expect(await (await send(channel, "from 1", "a:b", `Bearer ${one}`)).json()).toMatchObject({ seq: 1 });
    expect(await (await send(channel, "from 1:a", "b", `Bearer ${two}`)).json()).toMatchObject({ seq: 2 });
    expect(await (await send(channel, "from 1", "a:b", `Bearer ${one}`)).json()).toMatchObject({ seq: 1 });
  });

  it("applies to users of one database only, because each database has its own dbo_id (IDM3)", async () => {
    const dbo_id = crypto.getRandomValues(new Uint32Array(1))[0];
    const [one, two] = [await newDatabase({ dbo_id }), `db-${crypto.randomUUID()}`];
    const taken = await call("PUT", `/databases/${two}`, { dbo_id, secret: "AUTH_SECRET" });
    expect([taken.status, await taken.json()]).toMatchObject([400, { field: "dbo_id" }]);
    const channel = await newOpenChannel({ database: one });
    const before = await tokenOf(one, 1);
    expect(await (await send(channel, "before", "k", `Bearer ${before}`)).json()).toMatchObject({ seq: 1 });
    // A database that takes the number over later has users of its own.
    await call("DELETE", `/databases/${one}`);
    await call("PUT", `/databases/${two}`, { dbo_id, secret: "AUTH_SECRET" });
    const settings = { public_messaging: { active: true }, database: two };
    expect((await call("PUT", `/channels/${encodeURIComponent(channel)}`, settings)).status).toBe(200);
    const after = await tokenOf(two, 1);
    expect(await (await send(channel, "after", "k", `Bearer ${after}`)).json()).toMatchObject({ seq: 2 });
  });

  it("applies to one user only", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const bearers = await Promise.all([1, 2].map(async (id) => `Bearer ${await tokenOf(database, id)}`));
    for (let attempt = 0; attempt < 2; attempt++) {
      const places = [];
      for (const bearer of bearers) places.push(await (await send(channel, "mine", "k", bearer)).json());
      expect(places).toMatchObject([{ seq: 1 }, { seq: 2 }]);
    }
  });

  it.each(["database", "sender"])("with another %s is refused, each time (IDM2)", async (field) => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const value = field === "database" ? database : { database, id: 1 };
    expect((await post("/message", { channel, message: 1 }, "k")).status).toBe(201);
    for (let attempt = 0; attempt < 2; attempt++) {
      const answer = await post("/message", { channel, message: 1, [field]: value }, "k");
      expect(await answer.json()).toMatchObject({ type: "/problems/key-reused" });
    }
    expect((await post("/message", { channel, message: 1, [field]: value }, "other")).status).toBe(201);
    expect((await history(channel)).seq).toBe(2);
  });

  it("is not remembered for a message that found the log full (LIM4)", async () => {
    const channel = newChannel();
    await publish(channel, "first");
    await whileAway("messages", async () => {
      await publishMany(
        channel,
        Array.from({ length: LOG_CAPACITY - 1 }, () => "0"),
      );
      for (let attempt = 0; attempt < 2; attempt++) expect((await send(channel, "late", "k")).status).toBe(503);
    });
    await runDurableObjectAlarm(stubOf(channel));
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(await (await send(channel, "late", "k")).json()).toMatchObject({ seq: LOG_CAPACITY + 1 });
    }
    expect((await history(channel, "?limit=1")).messages[0]?.payload).toBe("late");
  });

  it("may be as long as the limit allows, also for a batch", async () => {
    const [channel, key] = [newChannel(), "x".repeat(MAX_IDEMPOTENCY_KEY_CHARACTERS)];
    const batch = [1, 2].map((message) => ({ channel, message }));
    for (let attempt = 0; attempt < 2; attempt++) {
      const { results } = await (await post("/messages", batch, key)).json<{ results: object[] }>();
      expect(results).toMatchObject([{ seq: 1 }, { seq: 2 }]);
      expect(await (await send(channel, "alone", key)).json()).toMatchObject({ seq: 3 });
    }
  });

  it.each([
    ["x".repeat(MAX_IDEMPOTENCY_KEY_CHARACTERS + 1), MAX_IDEMPOTENCY_KEY_CHARACTERS],
    ["a b", undefined],
    ["ü", undefined],
  ])("is refused if it is not valid: %j", async (key, limit) => {
    const answer = await send(newChannel(), 1, key);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ field: "Idempotency-Key", ...(limit !== undefined && { limit }) });
  });

  it("covers a batch, message by message", async () => {
    const channel = newChannel();
    const batch = [1, 2, 3].map((message) => ({ channel, message }));
    const first = await (await post("/messages", batch, "k")).json();
    expect(await (await post("/messages", batch, "k")).json()).toEqual(first);
    const changed = await post("/messages", [...batch.slice(0, 2), { channel, message: "changed" }], "k");
    expect(await changed.json()).toMatchObject({ results: [{ seq: 1 }, { seq: 2 }, { status: 422 }] });
    expect((await history(channel)).seq).toBe(3);
  });

  it("applies to a batch separately from single messages with any key (IDM4)", async () => {
    const channel = newChannel();
    const batch = ["first", "second"].map((message) => ({ channel, message }));
    expect(await (await post("/messages", batch, "k")).json()).toMatchObject({ results: [{ seq: 1 }, { seq: 2 }] });
    expect(await (await send(channel, "single", "k#0")).json()).toMatchObject({ seq: 3 });
    expect(await (await send(channel, "single", "k")).json()).toMatchObject({ seq: 4 });
    expect(await (await post("/messages", batch.slice(0, 1), "k#0")).json()).toMatchObject({ results: [{ seq: 5 }] });
  });
});

describe("a key's lifetime (IDM3)", () => {
  it("is at least 24 hours, also for messages that the log overwrites, and no row is deleted one by one", () =>
    runInDurableObject(stubOf(newChannel()), (_, { storage }) => {
      const clock = vi.spyOn(Date, "now");
      const log = new MessageLog(storage, 2);
      log.start([]);
      const reopened = () => new IdempotencyKeys(storage, new MessageLog(storage, 2));
      const keyed = (key: string) => ({ key, digest: key.length });
      const keys = new IdempotencyKeys(storage, log);
      const publishAt = (time: number, key: string) => {
        clock.mockReturnValue(time);
        keys.moveOverwritten(1);
        const [stored] = log.append({ ...MESSAGE, payloads: ["0"], keys: [keyed(key)] });
        if (stored) keys.stored(key, stored);
        log.markArchived(log.last);
      };
      const known = (...asked: string[]) => {
        const found = [keys, reopened()].map((one) => asked.map((key) => one.find(keyed(key))?.seq));
        expect(found[0]).toEqual(found[1]);
        return found[0];
      };
      for (const [key, time] of Object.entries({ a: 0, b: 1, c: 2, d: 3 })) publishAt(time, key);
      expect(known("a", "b", "c", "d", "e")).toEqual([1, 2, 3, 4, undefined]);
      clock.mockReturnValue(KEY_LIFETIME_MS - 1);
      expect(known("a", "b", "c", "d")).toEqual([1, 2, 3, 4]);
      // The log still contains c and d, and they expire exactly. The others are in a table, which is dropped later.
      clock.mockReturnValue(KEY_LIFETIME_MS + 3);
      expect(known("a", "b", "c", "d")).toEqual([1, 2, undefined, undefined]);
      publishAt(KEY_LIFETIME_MS + 4, "c");
      expect(known("c")).toEqual([5]);
      for (const [key, time] of Object.entries({ e: 5, f: 6, g: 7 })) publishAt(KEY_LIFETIME_MS + time, key);
      expect(known("a", "b", "c", "e", "f", "g")).toEqual([1, 2, 5, 6, 7, 8]);
      for (const [key, time] of Object.entries({ h: 8, i: 9, j: 10 })) publishAt(2 * KEY_LIFETIME_MS + time, key);
      const later = [undefined, undefined, 5, 6, undefined, 9, 10, 11];
      expect(known("a", "b", "c", "e", "f", "h", "i", "j")).toEqual(later);
    }));

  it("costs no row: a keyed message writes as many rows as one without a key", async () => {
    const channel = newChannel();
    await publish(channel, "first");
    const written = { rows: 0 };
    await runInDurableObject(stubOf(channel), (_, { storage }) => {
      const sql = Object.getPrototypeOf(storage.sql) as SqlStorage;
      const exec = sql.exec.bind(storage.sql);
      vi.spyOn(sql, "exec").mockImplementation(((...options: Parameters<typeof exec>) => {
        const cursor = exec(...options);
        written.rows += cursor.rowsWritten;
        return cursor;
      }) as typeof exec);
    });
    const rowsFor = async (act: () => Promise<unknown>) => {
      written.rows = 0;
      await act();
      return written.rows;
    };
    for (const round of [1, 2]) {
      expect(await rowsFor(() => publish(channel, "without a key"))).toBe(1);
      expect(await rowsFor(() => send(channel, "with a key", `k${round}`))).toBe(1);
      expect(await rowsFor(() => send(channel, "with a key", `k${round}`))).toBe(0);
    }
  });
});

/** Lets a channel's object begin with tables for keys, as if keys had moved there. */
async function withTables(channel: string, since: number): Promise<void> {
  await runInDurableObject(stubOf(channel), (_, { storage }) => {
    for (const table of [0, 1]) {
      storage.sql.exec(
        `CREATE TABLE idempotency_${table} (key TEXT PRIMARY KEY, digest INTEGER NOT NULL, seq INTEGER NOT NULL,
           time INTEGER NOT NULL) WITHOUT ROWID`,
      );
    }
    storage.kv.put("idempotency", { current: 0, since });
  });
  await evictDurableObject(stubOf(channel));
}

const MESSAGE = { action: "event", client: null, database: null, type: null } as const;

describe("the storage of keys", () => {
  it("holds 500 keys of 36 characters per second for two days (IDM3)", () =>
    runInDurableObject(stubOf(newChannel()), (_, { storage }) => {
      const log = new MessageLog(storage, 100);
      log.start([]);
      const keys = new IdempotencyKeys(storage, log);
      const publishMore = (count: number) => {
        for (let n = 0; n < count; n++) {
          const key = `server\n${crypto.randomUUID()}`;
          keys.moveOverwritten(1);
          const [stored] = log.append({ ...MESSAGE, payloads: ["1"], keys: [{ key, digest: 2 ** 52 + log.last }] });
          if (stored) keys.stored(key, stored);
          log.markArchived(log.last);
        }
      };
      publishMore(1_000);
      const before = storage.sql.databaseSize;
      publishMore(5_000);
      const perKey = (storage.sql.databaseSize - before) / 5_000;
      expect(perKey).toBeGreaterThan(40);
      expect(perKey * 500 * 2 * 86_400).toBeLessThan(MAX_STORAGE_BYTES_FOR_KEYS.server);
    }));

  it("refuses new keys while it is full, but accepts known keys and messages without a key (IDM5)", async () => {
    const channel = newChannel();
    const now = Date.now();
    const clock = vi.spyOn(Date, "now").mockReturnValue(now);
    await withTables(channel, now);
    expect((await send(channel, "first", "k1")).status).toBe(201);
    const size = await runInDurableObject(stubOf(channel), (_, { storage }) =>
      vi
        .spyOn(Object.getPrototypeOf(storage.sql) as SqlStorage, "databaseSize", "get")
        .mockReturnValue(MAX_STORAGE_BYTES_FOR_KEYS.server),
    );
    clock.mockReturnValue(now + KEY_LIFETIME_MS - 90_000);
    for (let again = 0; again < 2; again++) {
      const refused = await send(channel, "second", "k2");
      expect([refused.status, refused.headers.get("Retry-After")]).toEqual([503, "90"]);
      expect(await refused.json()).toMatchObject({ type: "/problems/keys-full", field: "Idempotency-Key" });
    }
    expect(await (await send(channel, "first", "k1")).json()).toMatchObject({ seq: 1 });
    expect((await send(channel, "other", "k1")).status).toBe(422);
    expect((await call("POST", "/message", { channel, message: "without a key" })).status).toBe(201);
    // The table that is dropped when the tables' turns come makes room.
    clock.mockReturnValue(now + KEY_LIFETIME_MS + 1_000);
    expect((await send(channel, "second", "k2")).headers.get("Retry-After")).toBe("3600");
    clock.mockReturnValue(now + 2 * KEY_LIFETIME_MS + 1_000);
    size.mockRestore();
    expect(await (await send(channel, "second", "k2")).json()).toMatchObject({ seq: 3 });
    expect(await (await send(channel, "first again", "k1")).json()).toMatchObject({ seq: 4 });
  });

  it("has a reserve for users that anonymous clients cannot use, and one for API keys that users cannot (IDM5)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const credentials = [`Bearer ${API_KEY}`, `Bearer ${await tokenOf(database, 1)}`, ""];
    for (const one of credentials) expect((await send(channel, "known", "known", one)).status).toBe(201);
    const size = await runInDurableObject(stubOf(channel), (_, { storage }) =>
      vi.spyOn(Object.getPrototypeOf(storage.sql) as SqlStorage, "databaseSize", "get"),
    );
    const statusesAt = async (bytes: number) => {
      size.mockReturnValue(bytes);
      const key = crypto.randomUUID();
      return Promise.all(credentials.map(async (one) => (await send(channel, "new", key, one)).status));
    };
    const { anonymous, user, server } = MAX_STORAGE_BYTES_FOR_KEYS;
    expect([user, anonymous]).toEqual([server / 2, server / 4]);
    expect(await statusesAt(anonymous - 1)).toEqual([201, 201, 201]);
    expect(await statusesAt(anonymous)).toEqual([201, 201, 503]);
    expect(await statusesAt(user - 1)).toEqual([201, 201, 503]);
    expect(await statusesAt(user)).toEqual([201, 503, 503]);
    expect(await statusesAt(server - 1)).toEqual([201, 503, 503]);
    expect(await statusesAt(server)).toEqual([503, 503, 503]);
    for (const one of credentials) expect((await send(channel, "known", "known", one)).status).toBe(201);
    for (const key of [API_KEY, await tokenOf(database, 1), null]) {
      expect((await call("POST", "/message", { channel, message: "without a key" }, key)).status).toBe(201);
    }
  });

  it("is created again in an object that has tables of an older layout", async () => {
    const channel = newChannel();
    await runInDurableObject(stubOf(channel), (_, { storage }) => {
      for (const table of [0, 1]) {
        storage.sql.exec(
          `CREATE TABLE keys_${table} (key TEXT PRIMARY KEY, digest TEXT NOT NULL, seq INTEGER NOT NULL,
             time INTEGER NOT NULL) WITHOUT ROWID`,
        );
      }
      storage.kv.put("keys", { current: 1, since: Date.now() - KEY_LIFETIME_MS });
    });
    await evictDurableObject(stubOf(channel));
    for (let again = 0; again < 2; again++) {
      expect(await (await send(channel, "once", "k")).json()).toMatchObject({ seq: 1 });
    }
  });
});
