import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { KEY_LIFETIME, Keys } from "../../src/channel/keys.ts";
import { LOG_CAPACITY, MAX_DATABASE_BYTES, MAX_KEY_LENGTH } from "../../src/protocol/limits.ts";
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
  it("is one message, and each time the same answer", async () => {
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

  it("is one message though the requests come at once", async () => {
    const channel = newChannel();
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(channel, "once", "k")));
    const places = await Promise.all(answers.map((answer) => answer.json()));
    expect(new Set(places.map((place) => JSON.stringify(place))).size).toBe(1);
    expect((await history(channel)).seq).toBe(1);
  });

  it("is one message though the object was evicted in between", async () => {
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

  it("counts for one channel and one kind of caller only", async () => {
    const [one, two] = [await newOpenChannel(), await newOpenChannel()];
    await send(one, "a", "k");
    expect(await (await send(two, "b", "k")).json()).toMatchObject({ seq: 1 });
    expect(await (await send(one, "c", "k", "")).json()).toMatchObject({ seq: 2 });
  });

  it("counts for one user only, whatever characters ids and keys hold (IDM3)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const [one, two] = [await tokenOf(database, "1"), await tokenOf(database, "1:a")];
    expect(await (await send(channel, "from 1", "a:b", `Bearer ${one}`)).json()).toMatchObject({ seq: 1 });
    expect(await (await send(channel, "from 1:a", "b", `Bearer ${two}`)).json()).toMatchObject({ seq: 2 });
    expect(await (await send(channel, "from 1", "a:b", `Bearer ${one}`)).json()).toMatchObject({ seq: 1 });
  });

  it("counts for users of one database only: no two databases have the same dbo_id (IDM3)", async () => {
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

  it("counts for one user only", async () => {
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

  it("may have as many characters as the limit says, for a batch too", async () => {
    const [channel, key] = [newChannel(), "x".repeat(MAX_KEY_LENGTH)];
    const batch = [1, 2].map((message) => ({ channel, message }));
    for (let attempt = 0; attempt < 2; attempt++) {
      const { results } = await (await post("/messages", batch, key)).json<{ results: object[] }>();
      expect(results).toMatchObject([{ seq: 1 }, { seq: 2 }]);
      expect(await (await send(channel, "alone", key)).json()).toMatchObject({ seq: 3 });
    }
  });

  it.each([
    ["x".repeat(MAX_KEY_LENGTH + 1), MAX_KEY_LENGTH],
    ["a b", undefined],
    ["ü", undefined],
  ])("is refused where it is not allowed: %j", async (key, limit) => {
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

  it("covers a batch apart from single messages, however their keys are spelled (IDM4)", async () => {
    const channel = newChannel();
    const batch = ["first", "second"].map((message) => ({ channel, message }));
    expect(await (await post("/messages", batch, "k")).json()).toMatchObject({ results: [{ seq: 1 }, { seq: 2 }] });
    expect(await (await send(channel, "single", "k#0")).json()).toMatchObject({ seq: 3 });
    expect(await (await send(channel, "single", "k")).json()).toMatchObject({ seq: 4 });
    expect(await (await post("/messages", batch.slice(0, 1), "k#0")).json()).toMatchObject({ results: [{ seq: 5 }] });
  });
});

describe("a key's lifetime (IDM3)", () => {
  it("is one to two of the documented days, and its rows are never deleted one by one", () =>
    runInDurableObject(stubOf(newChannel()), (_, { storage }) => {
      const keys = () => new Keys(storage);
      const named = (key: string) => ({ key: bytesOf(key), digest: bytesOf(`message of ${key}`) });
      expect(keys().find(named("a"))).toBeUndefined();
      const remember = (key: string, seq: number, time: number) => keys().remember(named(key), { seq, time });
      remember("a", 1, 0);
      remember("b", 2, KEY_LIFETIME - 1);
      remember("c", 3, KEY_LIFETIME);
      expect(["a", "b", "c"].map((key) => keys().find(named(key))?.seq)).toEqual([1, 2, 3]);
      remember("d", 4, 2 * KEY_LIFETIME);
      expect(["a", "b", "c", "d"].map((key) => keys().find(named(key))?.seq)).toEqual([undefined, undefined, 3, 4]);
      remember("e", 5, 3 * KEY_LIFETIME - 1);
      expect(["c", "d", "e"].map((key) => keys().find(named(key))?.seq)).toEqual([3, 4, 5]);
      remember("f", 6, 3 * KEY_LIFETIME);
      expect(["c", "d", "e", "f"].map((key) => keys().find(named(key))?.seq)).toEqual([undefined, 4, 5, 6]);
      remember("g", 7, 4 * KEY_LIFETIME);
      expect(["d", "e", "f", "g"].map((key) => keys().find(named(key)))).toMatchObject([
        undefined,
        undefined,
        { seq: 6, time: 3 * KEY_LIFETIME },
        { seq: 7, time: 4 * KEY_LIFETIME },
      ]);
    }));
});

describe("the storage of keys", () => {
  const longest = "k".repeat(MAX_KEY_LENGTH - 1);

  it("holds 500 keys per second for two days, however long they are (IDM3)", async () => {
    const bytesFor = async (headers: object) => {
      const channel = newChannel();
      const before = await sizeOf(channel);
      for (let n = 0; n < 5; n++) {
        const batch = Array.from({ length: 1_000 }, () => ({ channel, message: 1 }));
        const key = "Idempotency-Key" in headers ? `${longest}${n}` : undefined;
        const init = { "Content-Type": "application/json", Authorization: `Bearer ${API_KEY}` };
        const all = { ...init, ...(key !== undefined && { "Idempotency-Key": key }) };
        const answer = await request("/messages", { method: "POST", headers: all, body: JSON.stringify(batch) });
        expect(answer.status).toBe(200);
      }
      return ((await sizeOf(channel)) - before) / 5_000;
    };
    const perKey = (await bytesFor({ "Idempotency-Key": true })) - (await bytesFor({}));
    expect(perKey * 500 * 2 * 86_400).toBeLessThan(MAX_DATABASE_BYTES.server);
  });

  it("that is full refuses new keys for now; known keys, and messages without one, go on (IDM5)", async () => {
    const channel = newChannel();
    const now = Date.now();
    const clock = vi.spyOn(Date, "now").mockReturnValue(now);
    expect((await send(channel, "first", "k1")).status).toBe(201);
    const size = await runInDurableObject(stubOf(channel), (_, { storage }) =>
      vi
        .spyOn(Object.getPrototypeOf(storage.sql) as SqlStorage, "databaseSize", "get")
        .mockReturnValue(MAX_DATABASE_BYTES.server),
    );
    clock.mockReturnValue(now + KEY_LIFETIME - 90_000);
    for (let again = 0; again < 2; again++) {
      const refused = await send(channel, "second", "k2");
      expect([refused.status, refused.headers.get("Retry-After")]).toEqual([503, "90"]);
      expect(await refused.json()).toMatchObject({ type: "/problems/keys-full", field: "Idempotency-Key" });
    }
    expect(await (await send(channel, "first", "k1")).json()).toMatchObject({ seq: 1 });
    expect((await send(channel, "other", "k1")).status).toBe(422);
    expect((await call("POST", "/message", { channel, message: "without a key" })).status).toBe(201);
    // The table that is dropped when the tables' turns come makes room.
    clock.mockReturnValue(now + KEY_LIFETIME + 1_000);
    expect((await send(channel, "second", "k2")).headers.get("Retry-After")).toBe("3600");
    clock.mockReturnValue(now + 2 * KEY_LIFETIME + 1_000);
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
    const { anonymous, user, server } = MAX_DATABASE_BYTES;
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

  it("is begun anew in an object that holds tables of an older layout", async () => {
    const channel = newChannel();
    await runInDurableObject(stubOf(channel), (_, { storage }) => {
      for (const table of [0, 1]) {
        storage.sql.exec(
          `CREATE TABLE keys_${table} (key TEXT PRIMARY KEY, digest TEXT NOT NULL, seq INTEGER NOT NULL,
             time INTEGER NOT NULL) WITHOUT ROWID`,
        );
      }
      storage.kv.put("keys", { current: 1, since: Date.now() - KEY_LIFETIME });
    });
    await evictDurableObject(stubOf(channel));
    for (let again = 0; again < 2; again++) {
      expect(await (await send(channel, "once", "k")).json()).toMatchObject({ seq: 1 });
    }
  });
});

const bytesOf = (text: string) => new TextEncoder().encode(text).slice().buffer;

const sizeOf = (channel: string) => runInDurableObject(stubOf(channel), (_, { storage }) => storage.sql.databaseSize);
