import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import { Alarm } from "../../src/channel/alarm.ts";
import { retryDelayMs } from "../../src/channel/archiver.ts";
import { LOG_CAPACITY } from "../../src/protocol/limits.ts";
import {
  archived,
  call,
  channelWithShortLog,
  history,
  interceptWrites,
  join,
  messagesIn,
  newChannel,
  newDatabase,
  newOpenChannel,
  publish,
  publishMany,
  stubOf,
  tokenOf,
  whileAway,
} from "./support.ts";

const whileArchiveFails = <T>(act: () => Promise<T>) => whileAway("messages", act);
/** Fills the ring, so that the log no longer holds what was there. */
async function overwriteLog(channel: string): Promise<void> {
  await publishMany(
    channel,
    Array.from({ length: LOG_CAPACITY }, () => "0"),
  );
  await runDurableObjectAlarm(stubOf(channel));
}

async function stateOf(channel: string): Promise<object> {
  const state = await stubOf(channel).state([]);
  return state.ok ? state.value : state.fault;
}

const alarmOf = (channel: string) => runInDurableObject(stubOf(channel), (_, { storage }) => storage.getAlarm());

describe("archiving", () => {
  it("stores published messages in D1 without being asked", async () => {
    const channel = newChannel();
    await publish(channel, "by itself");
    await vi.waitUntil(async () => (await archived(channel)).length === 1, { timeout: 30_000, interval: 50 });
  });

  it("sets one alarm for the whole backlog, and none when the backlog is empty", async () => {
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

  it("completes a batch that D1 has partly stored, and stores no message twice", async () => {
    const channel = newChannel();
    for (const n of [1, 2, 3]) await publish(channel, n);
    await env.DB.prepare("INSERT INTO messages VALUES (?, 2, 0, 'event', NULL, NULL, '2', NULL)").bind(channel).run();
    await runDurableObjectAlarm(stubOf(channel));
    expect((await archived(channel)).map(({ payload }) => payload)).toEqual(["1", "2", "3"]);
  });

  it("sets an alarm when the object wakes with a backlog that has none", async () => {
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

  it("stores messages whose sender's extras are as large as a token allows, however many (AUT6)", async () => {
    const channel = newChannel();
    const extras = { quotes: '"'.repeat(2_000) };
    const sender = JSON.stringify({ socketId: "", permissions: { dbo_id: 1, row_id: 1 }, extras });
    // Not by the user itself: LIM12 would spread so many messages over a minute.
    for (let batch = 0; batch < 3; batch++) {
      const payloads = Array.from({ length: 1_000 }, (_, index) => String(batch * 1_000 + index));
      await publishMany(channel, payloads, sender);
    }
    await runDurableObjectAlarm(stubOf(channel));
    await vi.waitUntil(async () => (await archived(channel)).length === 3_000, { timeout: 10_000, interval: 50 });
    const stored = await env.DB.prepare("SELECT client FROM messages WHERE channel = ? AND seq = 3000")
      .bind(channel)
      .first<{ client: string }>();
    expect(stored?.client).toBe(sender);
  });

  it("waits a second for more messages, unless a burst fills the log", async () => {
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

  it("inserts many rows per statement", async () => {
    const channel = newChannel();
    await publish(channel, "the log begins");
    const sizes: number[] = [];
    const writes = interceptWrites((write, params) => {
      sizes.push(messagesIn(params));
      return write();
    });
    await publishMany(
      channel,
      Array.from({ length: 4_499 }, () => "0"),
    );
    await runDurableObjectAlarm(stubOf(channel));
    await vi.waitUntil(() => sizes.reduce((sum, size) => sum + size, 0) >= 4_500);
    writes.mockRestore();
    expect(sizes.slice(-3)).toEqual([2_000, 2_000, 500]);
  });

  it("backs off from one second to one minute, with a jitter of up to half", () => {
    const ceilings = [1, 2, 3, 4, 5, 6, 7, 8, 1000].map((failures) => retryDelayMs(failures, 0));
    expect(ceilings).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    expect(retryDelayMs(3, 0.999)).toBe(2002);
  });
});

/** What D1 says of a text that is too long for it. */
const TOO_BIG = "D1_ERROR: string or blob too big: SQLITE_TOOBIG";

/** D1 refuses each write that holds the text, with this error. Returns how to end that. */
function refuseWritesWith(text: string, error: string): { mockRestore: () => void } {
  return interceptWrites((write, params) =>
    params.some((param) => String(param).includes(text)) ? Promise.reject(new Error(error)) : write(),
  );
}

const payloadsOf = (rows: { payload: string }[]) => rows.map(({ payload }) => JSON.parse(payload) as unknown);

describe("a message that D1 refuses forever", () => {
  it.each([1, 3])("does not block later messages: %i in a row", async (count) => {
    const [channel, good] = [newChannel(), Array.from({ length: 40 }, (_, index) => index)];
    const poison = Array.from({ length: count }, (_, index) => `poison ${index}`);
    for (const message of [...good.slice(0, 20), ...poison, ...good.slice(20)]) await publish(channel, message);
    const refusing = refuseWritesWith("poison", TOO_BIG);
    await runDurableObjectAlarm(stubOf(channel));
    refusing.mockRestore();
    expect(payloadsOf(await archived(channel))).toEqual(good);
    expect(await stateOf(channel)).toMatchObject({ backlog: 0 });
    // Batches grow again: what follows needs one trip.
    await publishMany(
      channel,
      Array.from({ length: 500 }, () => "0"),
    );
    const trips: number[] = [];
    const writes = interceptWrites((write, params) => {
      trips.push(messagesIn(params));
      return write();
    });
    await runDurableObjectAlarm(stubOf(channel));
    writes.mockRestore();
    expect(trips.reduce((sum, size) => sum + size, 0)).toBe(500);
    expect(trips.length).toBeLessThan(12);
  });

  it("stays in the history after the log has overwritten it, and reaches D1 once D1 accepts it (HIS4)", async () => {
    const channel = newChannel();
    for (const message of [1, "poison", 3]) await publish(channel, message);
    const refusing = refuseWritesWith("poison", TOO_BIG);
    await runDurableObjectAlarm(stubOf(channel));
    await overwriteLog(channel);
    for (const query of ["?after=0&limit=4", "?before=5&limit=4"]) {
      expect((await history(channel, query)).messages.map(({ payload }) => payload)).toEqual([1, "poison", 3, 0]);
    }
    for (const hour of [1, 2]) {
      const later = Date.now() + hour * 3_600_000 + 1_000;
      if (hour === 2) refusing.mockRestore();
      vi.spyOn(Date, "now").mockReturnValue(later);
      await runDurableObjectAlarm(stubOf(channel));
      vi.spyOn(Date, "now").mockRestore();
      const kept = await env.DB.prepare("SELECT seq FROM messages WHERE channel = ? AND seq = 2").bind(channel).all();
      expect(kept.results).toHaveLength(hour - 1);
    }
    expect((await history(channel, "?after=0&limit=4")).messages.map(({ payload }) => payload)).toEqual([
      1,
      "poison",
      3,
      0,
    ]);
    expect(await alarmOf(channel)).toBeNull();
  });

  it("keeps its sender, also when D1 takes it in the end (HIS4)", async () => {
    const channel = newChannel();
    const client = { socketId: "s", permissions: { dbo_id: 7, row_id: 42 }, extras: { name: "Ada" } };
    await publishMany(channel, [JSON.stringify("poison")], JSON.stringify(client));
    const refusing = refuseWritesWith("poison", TOO_BIG);
    await runDurableObjectAlarm(stubOf(channel));
    expect(await archived(channel)).toEqual([]);
    refusing.mockRestore();
    const clock = vi.spyOn(Date, "now").mockReturnValue(Date.now() + 3_600_000 + 1_000);
    await runDurableObjectAlarm(stubOf(channel));
    clock.mockRestore();
    expect(payloadsOf(await archived(channel))).toEqual(["poison"]);
    await overwriteLog(channel);
    expect((await history(channel, "?after=0&limit=1")).messages).toMatchObject([{ payload: "poison", client }]);
  });

  it("is not confused with an outage: if D1 accepts nothing, every message waits", async () => {
    const channel = newChannel();
    for (const message of [1, 2]) await publish(channel, message);
    const full = interceptWrites(() => Promise.reject(new Error(TOO_BIG)));
    for (let failure = 1; failure <= 8; failure++) await runDurableObjectAlarm(stubOf(channel));
    expect(await stateOf(channel)).toMatchObject({ backlog: 2, archived: 0 });
    full.mockRestore();
    await runDurableObjectAlarm(stubOf(channel));
    expect(payloadsOf(await archived(channel))).toEqual([1, 2]);
  });

  it("is also set aside after several runs if the error is unspecific", async () => {
    const channel = newChannel();
    for (const message of ["poison", 2]) await publish(channel, message);
    const refusing = refuseWritesWith("poison", "D1_ERROR: internal error");
    for (let failure = 1; failure <= 5; failure++) {
      await runDurableObjectAlarm(stubOf(channel));
      expect(await stateOf(channel)).toMatchObject({ backlog: 2 });
    }
    await runDurableObjectAlarm(stubOf(channel));
    refusing.mockRestore();
    expect(payloadsOf(await archived(channel))).toEqual([2]);
  });
});

describe("a D1 that recovers right after a failure", () => {
  it("gets the message again before the message counts as refused", async () => {
    const channel = newChannel();
    await publish(channel, "only");
    let isAway = true;
    const failing = interceptWrites((write) => {
      if (!isAway) return write();
      // In the last of these runs D1 is back right after its failure.
      failures += 1;
      isAway = failures < 6;
      return Promise.reject(new Error("D1_ERROR: internal error"));
    });
    let failures = 0;
    for (let attempt = 1; attempt <= 6; attempt++) await runDurableObjectAlarm(stubOf(channel));
    failing.mockRestore();
    expect(failures).toBe(6);
    expect(payloadsOf(await archived(channel))).toEqual(["only"]);
    expect(await alarmOf(channel)).toBeNull();
  });
});

describe("a run of the archiver", () => {
  it("ends under steady traffic and leaves new messages to the next run", async () => {
    const channel = newChannel();
    await publish(channel, "first");
    let trips = 0;
    const writes = interceptWrites(async (write) => {
      trips += 1;
      // Without an end to the run this goes on and on, so the traffic stops at some time.
      if (trips < 20) await publish(channel, "meanwhile");
      return write();
    });
    await runDurableObjectAlarm(stubOf(channel));
    expect(trips).toBe(1);
    expect(await alarmOf(channel)).toBeGreaterThan(Date.now());
    await runDurableObjectAlarm(stubOf(channel));
    expect(trips).toBe(2);
    writes.mockRestore();
  });

  it("ends after five seconds if D1 is slow, and the next run continues", async () => {
    const channel = newChannel();
    await publishMany(
      channel,
      Array.from({ length: 5_000 }, () => "0"),
    );
    const [began, sizes] = [Date.now(), [] as number[]];
    const clock = vi.spyOn(Date, "now").mockImplementation(() => began + sizes.length * 6_000);
    const slow = interceptWrites((write, params) => {
      sizes.push(messagesIn(params));
      return write();
    });
    for (const expected of [[2_000], [2_000, 2_000], [2_000, 2_000, 1_000]]) {
      await runDurableObjectAlarm(stubOf(channel));
      expect(sizes).toEqual(expected);
    }
    slow.mockRestore();
    clock.mockRestore();
    expect(await archived(channel)).toHaveLength(5_000);
  });

  it("sends fewer messages per batch after D1 did not answer", async () => {
    const channel = newChannel();
    await publishMany(
      channel,
      Array.from({ length: 1_000 }, () => "0"),
    );
    const sizes: number[] = [];
    const failing = interceptWrites((_, params) => {
      sizes.push(messagesIn(params));
      return Promise.reject(new Error("D1_ERROR: D1 DB storage operation exceeded timeout"));
    });
    for (let failure = 1; failure <= 3; failure++) await runDurableObjectAlarm(stubOf(channel));
    failing.mockRestore();
    expect(sizes).toEqual([1_000, 500, 250]);
    await runDurableObjectAlarm(stubOf(channel));
    expect(await archived(channel)).toHaveLength(1_000);
  });

  it("lets tokens expire on time while D1 hangs (AUT7)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const [first, second] = [
      await join(channel, {}, {}, await tokenOf(database, 1)),
      await join(channel, {}, {}, await tokenOf(database, 2, { expires_in: 3_601 })),
    ];
    await publish(channel, "waits for D1");
    const began = Date.now();
    let elapsed = 0;
    const clock = vi.spyOn(Date, "now").mockImplementation(() => began + elapsed);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const hanging = interceptWrites(async (write) => {
      asked.resolve();
      await answer;
      return write();
    });
    const running = runDurableObjectAlarm(stubOf(channel));
    await asked.promise;
    elapsed = 3_600_999;
    expect((await first.close()).code).toBe(4401);
    elapsed = 3_602_000;
    expect((await second.close()).code).toBe(4401);
    resolve();
    await running;
    hanging.mockRestore();
    clock.mockRestore();
  });
});

describe("a lost alarm", () => {
  it("is replaced while the object stays awake, each time", async () => {
    const channel = newChannel();
    await publish(channel, "first");
    const started = Date.now();
    for (const round of [1, 2]) {
      await runInDurableObject(stubOf(channel), (_, { storage }) => storage.deleteAlarm());
      expect(await alarmOf(channel)).toBeNull();
      vi.spyOn(Date, "now").mockReturnValue(started + round * 60_000);
      await publish(channel, `after loss ${round}`);
      vi.spyOn(Date, "now").mockRestore();
      expect(await alarmOf(channel)).not.toBeNull();
    }
  });

  it("is replaced by any activity on the channel, also after a failure of D1", async () => {
    const channel = await newOpenChannel();
    await publish(channel, "first");
    await whileArchiveFails(() => runDurableObjectAlarm(stubOf(channel)));
    await runInDurableObject(stubOf(channel), (_, { storage }) => storage.deleteAlarm());
    vi.spyOn(Date, "now").mockReturnValue(Date.now() + 600_000);
    await history(channel);
    vi.spyOn(Date, "now").mockRestore();
    expect(await alarmOf(channel)).not.toBeNull();
  });
});

describe("an alarm", () => {
  it.each([Infinity, -Infinity, NaN, 1e300, 8.64e15, -1, 0])("accepts the time %d", async (time) => {
    await runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const alarm = new Alarm(storage);
      alarm.scheduleNoLaterThan(time);
      expect(await storage.getAlarm()).not.toBeNull();
      // And is set for something that is due earlier all the same.
      alarm.scheduleNoLaterThan(1_000);
      expect(await storage.getAlarm()).toBeLessThanOrEqual(Date.now());
      await storage.deleteAlarm();
    });
  });
});

describe("the cost of a hundred messages", () => {
  it.each([
    ["one after another", (channel: string) => inTurn(100, (n) => publish(channel, n))],
    ["at once", (channel: string) => Promise.all(Array.from({ length: 100 }, (_, n) => publish(channel, n)))],
  ])("is one row each in the object and in D1, and two for the batch: %s", async (_, publishAll) => {
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
  it("publishing and delivery continue, and the backlog reaches D1 afterwards", async () => {
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

  it("a full log returns 503 with Retry-After, loses nothing, and accepts messages again afterwards (LIM4, ERR4)", async () => {
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

  it("history that only D1 holds returns 503 with Retry-After, and history in the log can still be read (HIS1, ERR4)", async () => {
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

  it("the log accepts as many messages of a batch as it has room for, and refuses each of the others (PUB6, LIM4)", async () => {
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

  it("a channel that needs D1 to find its position returns 503, and works once D1 does", async () => {
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
