import { runInDurableObject } from "cloudflare:test";
import { describe, expect, it, vi } from "vitest";
import { MAX_BATCH_BYTES, MAX_BATCH_CHANNELS, MAX_BATCH_MESSAGES, MAX_BODY_BYTES } from "../../src/protocol/limits.ts";
import { call, history, join, newChannel, newOpenChannel, publish, stubOf } from "./support.ts";

interface Results {
  results: { status: number; channel: string; seq?: number }[];
}

const send = (batch: unknown, key?: string | null) => call("POST", "/messages", batch, key);

describe("a batch (PUB6)", () => {
  it("is published in its order within each channel, with one result each", async () => {
    const [one, two] = [await newOpenChannel(), await newOpenChannel()];
    const subscribers = { [one]: await join(one), [two]: await join(two) };
    const batch = Array.from({ length: 10 }, (_, n) => ({ channel: n % 3 === 0 ? one : two, message: n }));
    const answer = await send(batch);
    expect(answer.status).toBe(200);
    const { results } = await answer.json<Results>();
    expect(results.map(({ status, channel }) => ({ status, channel }))).toEqual(
      batch.map(({ channel }) => ({ status: 201, channel })),
    );
    for (const [channel, subscriber] of Object.entries(subscribers)) {
      const mine = batch.filter((part) => part.channel === channel).map(({ message }) => message);
      expect((await subscriber.frames(mine.length)).map(({ payload }) => payload)).toEqual(mine);
      expect(results.filter((part) => part.channel === channel).map(({ seq }) => seq)).toEqual(
        mine.map((_, i) => i + 1),
      );
    }
  });

  it("accepts as many messages as the limit allows, and stores the messages of each channel in one commit", async () => {
    const channel = newChannel();
    await publish(channel, "first");
    const syncs = await runInDurableObject(stubOf(channel), (_, { storage }) => vi.spyOn(storage, "sync"));
    const batch = Array.from({ length: MAX_BATCH_MESSAGES }, (_, message) => ({ channel, message }));
    expect((await (await send(batch)).json<Results>()).results.at(-1)).toMatchObject({ seq: MAX_BATCH_MESSAGES + 1 });
    expect(syncs).toHaveBeenCalledTimes(1);
    expect((await history(channel, "?limit=1")).messages[0]?.payload).toBe(MAX_BATCH_MESSAGES - 1);
  });

  it("refuses each message that may not be published, and stores the others", async () => {
    const [open, closed] = [await newOpenChannel(), newChannel()];
    const batch = [open, closed, open].map((channel) => ({ channel, message: 1 }));
    const { results } = await (await send(batch, null)).json<Results>();
    expect(results).toMatchObject([
      { status: 201, channel: open, seq: 1 },
      { status: 401, channel: closed, type: "/problems/unauthorized", detail: expect.any(String) },
      { status: 201, channel: open, seq: 2 },
    ]);
  });

  it.each<[string, () => unknown, number, object]>([
    ["empty", () => [], 400, { field: "body", limit: 1 }],
    ["no array", () => ({ channel: "x", message: 1 }), 400, { field: "body" }],
    [
      "of too many",
      () => Array.from({ length: MAX_BATCH_MESSAGES + 1 }, () => ({ channel: "x", message: 1 })),
      400,
      { limit: MAX_BATCH_MESSAGES },
    ],
    [
      "for too many channels",
      () => Array.from({ length: MAX_BATCH_CHANNELS + 1 }, (_, n) => ({ channel: `x${n}`, message: 1 })),
      400,
      { limit: MAX_BATCH_CHANNELS },
    ],
    [
      "with one that is wrong",
      () => [
        { channel: "x", message: 1 },
        { channel: "a b", message: 1 },
      ],
      400,
      { field: "1.channel" },
    ],
    [
      "with one too large",
      () => [{ channel: "x", message: "x".repeat(MAX_BODY_BYTES) }],
      413,
      { field: "0.message", limit: MAX_BODY_BYTES },
    ],
    [
      "too large",
      () => Array.from({ length: 20 }, () => ({ channel: "x", message: "x".repeat(60_000) })),
      413,
      { limit: MAX_BATCH_BYTES },
    ],
  ])("is refused as a whole if it is %s", async (_, batch, status, expected) => {
    const answer = await send(batch());
    expect([answer.status, await answer.json()]).toMatchObject([status, expected]);
  });
});

describe("group commit", () => {
  it("stores messages that wait at the same time in one commit", async () => {
    const channel = newChannel();
    await publish(channel, "first");
    const gate = Promise.withResolvers<void>();
    const syncs = await runInDurableObject(stubOf(channel), (_, { storage }) =>
      vi.spyOn(storage, "sync").mockReturnValueOnce(gate.promise),
    );
    await publish(channel, "its commit takes long");
    const waiting = Promise.all(Array.from({ length: 50 }, (_, n) => publish(channel, n)));
    // The history request was sent last. Its answer shows that all fifty messages have arrived.
    expect((await history(channel)).seq).toBe(2);
    gate.resolve();
    expect((await waiting).map(({ seq }) => seq).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 50 }, (_, n) => n + 3),
    );
    expect(syncs).toHaveBeenCalledTimes(2);
  });
});
