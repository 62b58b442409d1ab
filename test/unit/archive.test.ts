import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { drain, retryDelay } from "../../src/channel/archiver.ts";
import { Log } from "../../src/channel/log.ts";

import { LOG_CAPACITY } from "../../src/protocol/limits.ts";
import {
  archived,
  call,
  channelWithShortLog,
  history,
  join,
  newChannel,
  newOpenChannel,
  publish,
  publishMany,
  stubOf,
  whileAway,
} from "./support.ts";

const whileArchiveFails = <T>(act: () => Promise<T>) => whileAway("messages", act);
const alarmOf = (channel: string) => runInDurableObject(stubOf(channel), (_, { storage }) => storage.getAlarm());

describe("archiving", () => {
  it("happens by itself: what was published is soon in D1", async () => {
    const channel = newChannel();
    await publish(channel, "by itself");
    await vi.waitUntil(async () => (await archived(channel)).length === 1, { timeout: 30_000, interval: 50 });
  });

  it("arms one alarm for all that waits, and none once it is done", async () => {
    const channel = newChannel();
    await publish(channel, 1);
    const alarm = await alarmOf(channel);
    expect(alarm).not.toBeNull();
    await publish(channel, 2);
    expect(await alarmOf(channel)).toBe(alarm);
    await runDurableObjectAlarm(stubOf(channel));
    expect(await alarmOf(channel)).toBeNull();
    expect(await archived(channel)).toHaveLength(2);
  });

  it("repeats nothing: a batch that is partly there already is completed", async () => {
    const channel = newChannel();
    for (const n of [1, 2, 3]) await publish(channel, n);
    await env.DB.prepare("INSERT INTO messages VALUES (?, 2, 0, 'event', NULL, NULL, '2')").bind(channel).run();
    await runDurableObjectAlarm(stubOf(channel));
    expect((await archived(channel)).map(({ payload }) => payload)).toEqual(["1", "2", "3"]);
  });

  it("arms an alarm on waking where a backlog has lost its own", async () => {
    const channel = newChannel();
    await publish(channel, "left behind");
    await runInDurableObject(stubOf(channel), (_, { storage }) => storage.deleteAlarm());
    await evictDurableObject(stubOf(channel));
    await history(channel);
    expect(await alarmOf(channel)).not.toBeNull();
  });

  it("carries the largest texts that a body can hold, many at a time", async () => {
    const channel = newChannel();
    const texts = [
      '"'.repeat(32_000),
      "日".repeat(21_000),
      "\\".repeat(32_000),
      "🦸".repeat(16_000),
      "\u0001".repeat(10_000),
    ];
    const payloads = Array.from({ length: 40 }, (_, index) => JSON.stringify(texts[index % texts.length]));
    await publishMany(channel, payloads);
    await runDurableObjectAlarm(stubOf(channel));
    expect((await archived(channel)).map(({ payload }) => payload)).toEqual(payloads);
  });

  it("waits a second for company, but not where a burst fills the log", async () => {
    const channel = newChannel();
    await publish(channel, "the log begins");
    await runDurableObjectAlarm(stubOf(channel));
    const times = await runInDurableObject(stubOf(channel), (_, { storage }) => vi.spyOn(storage, "setAlarm"));
    const texts = (count: number) => Array.from({ length: count }, () => '"burst"');
    const waits = () => times.mock.calls.map(([time]) => Number(time) - Date.now() > 500);
    await publishMany(channel, texts(999));
    expect(waits()).toEqual([true]);
    await publishMany(channel, texts(1));
    expect(waits()).toEqual([true, false]);
  });

  it("takes many rows a statement", async () => {
    const channel = newChannel();
    await publish(channel, "the log begins");
    await runDurableObjectAlarm(stubOf(channel));
    const batches = await runInDurableObject(stubOf(channel), async (_, { storage }) => {
      const log = new Log(storage);
      for (let n = 0; n < 9; n++) {
        log.append({ action: "event", client: null, database: null, payloads: Array.from({ length: 500 }, () => "0") });
      }
      const counts: number[] = [];
      await drain({
        unarchived: (maxRows, maxText) => log.unarchived(maxRows, maxText),
        store: async ({ count }) => void counts.push(count),
        markArchived: (seq) => log.markArchived(seq),
      });
      return counts;
    });
    expect(batches).toEqual([2_000, 2_000, 500]);
  });

  it("backs off from one second to one minute, less up to half at random", () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 7, 8, 1000].map((failures) => retryDelay(failures, 0));
    expect(ceilings).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    expect(retryDelay(3, 0.999)).toBe(2002);
  });
});

describe("the cost of a hundred messages", () => {
  it.each([
    ["one after another", (channel: string) => inTurn(100, (n) => publish(channel, n))],
    ["at once", (channel: string) => Promise.all(Array.from({ length: 100 }, (_, n) => publish(channel, n)))],
  ])("%s: one row each in the object and in D1, and two for the batch", async (_, publishAll) => {
    const channel = newChannel();
    await publish(channel, "the log begins");
    await runDurableObjectAlarm(stubOf(channel));
    const written = await runInDurableObject(stubOf(channel), (_instance, { storage }) => {
      const rows = vi.spyOn(storage.sql, "exec");
      const marks = vi.spyOn(storage.kv, "put");
      const alarms = vi.spyOn(storage, "setAlarm");
      const rowsOf = (cursor: unknown) => (cursor as SqlStorageCursor<never>).rowsWritten;
      return {
        messages: () => rows.mock.results.reduce((sum, { value }) => sum + rowsOf(value), 0),
        batches: () => marks.mock.calls.length + alarms.mock.calls.length,
      };
    });
    const statements = vi.spyOn(Object.getPrototypeOf(env.DB.prepare("SELECT 1")) as D1PreparedStatement, "run");
    await publishAll(channel);
    await runDurableObjectAlarm(stubOf(channel));
    const answers = await Promise.all(statements.mock.results.map(({ value }) => value as Promise<D1Result>));
    statements.mockRestore();
    expect(written.messages()).toBe(100);
    expect(answers.reduce((sum, { meta }) => sum + meta.rows_written, 0)).toBe(100);
    // An alarm and a mark for each batch; how many there were is the clock's affair.
    expect(written.batches()).toBe(2 * answers.length);
  });
});

describe("while D1 fails", () => {
  it("publishing and delivery go on, and D1 catches up by itself", async () => {
    const channel = await newOpenChannel();
    const subscriber = await join(channel);
    await whileArchiveFails(async () => {
      for (const n of [1, 2, 3]) await publish(channel, n);
      expect((await subscriber.frames(3)).map(({ payload }) => payload)).toEqual([1, 2, 3]);
      await runDurableObjectAlarm(stubOf(channel));
      expect(await alarmOf(channel)).not.toBeNull();
      await evictDurableObject(stubOf(channel));
      await publish(channel, 4);
    });
    await vi.waitUntil(async () => (await archived(channel)).length === 4, { timeout: 30_000, interval: 50 });
  });

  it("a full log answers 503 with Retry-After, loses nothing, and takes messages again afterwards (LIM4, ERR4)", async () => {
    const channel = newChannel();
    await publish(channel, "first");
    const stub = stubOf(channel);
    const fill = (count: number) =>
      publishMany(
        channel,
        Array.from({ length: count }, () => "0"),
      );
    const refused = await whileArchiveFails(async () => {
      expect(await fill(LOG_CAPACITY - 2)).not.toContain(false);
      expect(await fill(3)).toEqual([true, false, false]);
      return call("POST", "/message", { channel, message: "one too many" });
    });
    expect(refused.status).toBe(503);
    expect(refused.headers.get("Retry-After")).toBe("5");
    expect(await refused.json()).toMatchObject({ type: "/problems/backlog-full" });
    await runDurableObjectAlarm(stub);
    expect((await publish(channel, "again")).seq).toBe(LOG_CAPACITY + 1);
    expect(await archived(channel)).toHaveLength(LOG_CAPACITY);
  });

  it("history that only D1 holds answers 503 with Retry-After, what the log holds is read on (HIS1, ERR4)", async () => {
    const channel = await channelWithShortLog(8, 3);
    await whileArchiveFails(async () => {
      expect((await history(channel, "?limit=3")).messages.map(({ payload }) => payload)).toEqual([6, 7, 8]);
      for (const query of ["?limit=4", "?after=0", "?since=1970-01-01T00:00:00Z"]) {
        const refused = await call("GET", `/channels/${encodeURIComponent(channel)}/messages${query}`);
        expect([query, refused.status, refused.headers.get("Retry-After")]).toEqual([query, 503, "1"]);
        expect(await refused.json()).toMatchObject({ type: "/problems/unavailable" });
      }
    });
    expect((await history(channel, "?limit=4")).messages).toHaveLength(4);
  });

  it("a batch is taken as far as the log has room, and the rest refused one by one (PUB6, LIM4)", async () => {
    const channel = newChannel();
    await publish(channel, "the log begins");
    await whileArchiveFails(async () => {
      await publishMany(
        channel,
        Array.from({ length: LOG_CAPACITY - 3 }, () => "0"),
      );
      const batch = Array.from({ length: 4 }, (_, message) => ({ channel, message }));
      const answer = await call("POST", "/messages", batch);
      const { results } = await answer.json<{ results: { status: number; seq?: number }[] }>();
      expect(results.map(({ status, seq }) => [status, seq])).toEqual([
        [201, LOG_CAPACITY - 1],
        [201, LOG_CAPACITY],
        [503, undefined],
        [503, undefined],
      ]);
    });
    await vi.waitUntil(async () => (await archived(channel)).length === LOG_CAPACITY, {
      timeout: 30_000,
      interval: 50,
    });
    expect((await publish(channel, "on")).seq).toBe(LOG_CAPACITY + 1);
  });

  it("a channel that must ask D1 where it stands answers 503, and works once D1 does", async () => {
    const channel = newChannel();
    const refused = await whileArchiveFails(() => call("POST", "/message", { channel, message: 1 }));
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ type: "/problems/unavailable" });
    expect((await publish(channel, 1)).seq).toBe(1);
  });
});

describe("an object that lost its storage", () => {
  it("continues the numbering and the history from D1 (ORD1)", async () => {
    const channel = await newOpenChannel();
    for (const n of [1, 2, 3]) await publish(channel, n);
    await runDurableObjectAlarm(stubOf(channel));
    await runInDurableObject(stubOf(channel), (_, { storage }) => storage.deleteAll());
    await evictDurableObject(stubOf(channel));
    const subscriber = await join(channel, { after: 1 });
    expect((await subscriber.frames(2)).map(({ payload }) => payload)).toEqual([2, 3]);
    expect((await publish(channel, 4)).seq).toBe(4);
    expect((await history(channel)).messages.map(({ payload }) => payload)).toEqual([1, 2, 3, 4]);
  });
});

async function inTurn(count: number, act: (n: number) => Promise<unknown>): Promise<void> {
  for (let n = 0; n < count; n++) await act(n);
}
