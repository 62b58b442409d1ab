import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { KEY_LIFETIME, Keys } from "../../src/channel/keys.ts";
import { LOG_CAPACITY, MAX_KEY_LENGTH } from "../../src/protocol/limits.ts";
import {
  API_KEY,
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
});

describe("a key's lifetime (IDM3)", () => {
  it("is one to two of the documented days, and its rows are never deleted one by one", () =>
    runInDurableObject(stubOf(newChannel()), (_, { storage }) => {
      const keys = () => new Keys(storage);
      expect(keys().find("a")).toBeUndefined();
      const remember = (key: string, seq: number, time: number) => keys().remember(key, { digest: key, seq, time });
      remember("a", 1, 0);
      remember("b", 2, KEY_LIFETIME - 1);
      remember("c", 3, KEY_LIFETIME);
      expect(["a", "b", "c"].map((key) => keys().find(key)?.seq)).toEqual([1, 2, 3]);
      remember("d", 4, 2 * KEY_LIFETIME);
      expect(["a", "b", "c", "d"].map((key) => keys().find(key)?.seq)).toEqual([undefined, undefined, 3, 4]);
      remember("e", 5, 3 * KEY_LIFETIME - 1);
      expect(["c", "d", "e"].map((key) => keys().find(key)?.seq)).toEqual([3, 4, 5]);
      remember("f", 6, 3 * KEY_LIFETIME);
      expect(["c", "d", "e", "f"].map((key) => keys().find(key)?.seq)).toEqual([undefined, 4, 5, 6]);
      remember("g", 7, 4 * KEY_LIFETIME);
      expect(["d", "e", "f", "g"].map((key) => keys().find(key))).toEqual([
        undefined,
        undefined,
        { digest: "f", seq: 6, time: 3 * KEY_LIFETIME },
        { digest: "g", seq: 7, time: 4 * KEY_LIFETIME },
      ]);
    }));
});
