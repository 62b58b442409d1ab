import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { KEY_LIFETIME, Keys } from "../../src/channel/keys.ts";
import { MAX_KEY_LENGTH } from "../../src/protocol/limits.ts";
import {
  API_KEY,
  call,
  history,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  request,
  stubOf,
  tokenOf,
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
      expect(keys().find("a")).toBeUndefined();
      const remember = (key: string, seq: number, time: number) => keys().remember(key, { digest: key, seq, time });
      remember("a", 1, 0);
      remember("b", 2, KEY_LIFETIME - 1);
      remember("c", 3, KEY_LIFETIME);
      expect(["a", "b", "c"].map((key) => keys().find(key)?.seq)).toEqual([1, 2, 3]);
      remember("d", 4, 2 * KEY_LIFETIME);
      expect(["a", "b", "c", "d"].map((key) => keys().find(key)?.seq)).toEqual([undefined, undefined, 3, 4]);
    }));
});
