import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { HEARTBEAT_TIMEOUT_MS } from "../../src/channel/backpressure.ts";
import { Metrics } from "../../src/channel/metrics.ts";
import { type Attachment, Sockets } from "../../src/channel/sockets.ts";
import { Checker } from "../support/checker.ts";
import {
  call,
  faultsOf,
  interceptWrites,
  join,
  newOpenChannel,
  publish,
  publishMany,
  stubOf,
  type TestSocket,
  faultyD1,
} from "./support.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const alarm = (channel: string) => runDurableObjectAlarm(stubOf(channel));
const nextAlarm = (channel: string) => runInDurableObject(stubOf(channel), (_, { storage }) => storage.getAlarm());

async function expectWhole(checker: Checker, channel: string): Promise<void> {
  expect(await faultsOf(checker, channel)).toEqual([]);
}

async function say(checker: Checker, channel: string, message: string): Promise<void> {
  const { seq } = await publish(channel, message);
  checker.acknowledge(seq, message);
}

describe("D1", () => {
  it("may fail repeatedly: callers continue, and the alarm never gives up", async () => {
    const [channel, checker] = [await newOpenChannel(), new Checker()];
    const subscriber = await join(channel);
    const notes = checker.subscriber();
    await say(checker, channel, "first");
    const d1 = interceptWrites(() => Promise.reject(new Error("D1_ERROR: on purpose")));
    for (let failure = 1; failure <= 12; failure++) {
      expect(await alarm(channel)).toBe(true);
      expect(await nextAlarm(channel)).not.toBeNull();
      await say(checker, channel, `during failure ${failure}`);
    }
    d1.mockRestore();
    await alarm(channel);
    expect(await nextAlarm(channel)).toBeNull();
    for (const { options, payload } of await subscriber.frames(13)) notes.saw({ seq: options.seq, message: payload });
    await expectWhole(checker, channel);
  });

  it("may lose its answer after a commit: no message is stored twice", async () => {
    const [channel, checker] = [await newOpenChannel(), new Checker()];
    for (let n = 0; n < 5; n++) await say(checker, channel, `message ${n}`);
    const d1 = interceptWrites(async (write) => {
      await write();
      throw new Error("Network connection lost.");
    });
    await alarm(channel);
    await say(checker, channel, "behind the lost answer");
    await alarm(channel);
    d1.mockRestore();
    await expectWhole(checker, channel);
  });

  it("may hang: the object stops waiting for it, and callers continue meanwhile", async () => {
    const [channel, checker] = [await newOpenChannel(), new Checker()];
    await say(checker, channel, "first");
    const asked = Promise.withResolvers<void>();
    const d1 = interceptWrites(() => {
      asked.resolve();
      return new Promise(() => {});
    });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const hanging = alarm(channel);
    await asked.promise;
    await say(checker, channel, "while it hangs");
    await vi.advanceTimersByTimeAsync(15_000);
    await hanging;
    vi.useRealTimers();
    expect(await nextAlarm(channel)).not.toBeNull();
    d1.mockRestore();
    await expectWhole(checker, channel);
  });

  it("may hang: anonymous clients don't wait if the settings are known", async () => {
    const channel = await newOpenChannel();
    await evictDurableObject(stubOf(channel));
    expect((await call("POST", "/message", { channel, message: 0 })).status).toBe(201);
    const statements = Object.getPrototypeOf(env.DB.prepare("SELECT 1")) as D1PreparedStatement;
    for (const method of ["raw", "all", "first"] as const) {
      vi.spyOn(statements, method).mockImplementation(() => new Promise(() => {}) as never);
    }
    expect((await call("POST", "/message", { channel, message: 1 }, null)).status).toBe(201);
  });
});

describe("D1 that hangs while the object does not know its settings", () => {
  it("delays an API-key client's publish by less than the 5 s for which other callers wait, each time", async () => {
    const channel = await newOpenChannel();
    const subscriber = await join(channel);
    for (const round of [1, 2]) {
      // Nothing is stored before the first message, so the object forgets its settings.
      await evictDurableObject(stubOf(channel), { webSockets: "hibernate" });
      const hanging = faultyD1("", () => new Promise(() => {}));
      const startedAt = Date.now();
      expect((await call("POST", "/message", { channel, message: round })).status).toBe(201);
      expect(Date.now() - startedAt).toBeLessThan(4_000);
      expect((await subscriber.frame()).payload).toBe(round);
      hanging.end();
    }
  });
});

describe("eviction in the middle of a stream", () => {
  it.each(["hibernate", "close"] as const)(
    "loses no message and delivers none twice: sockets %s",
    async (webSockets) => {
      const [channel, checker] = [await newOpenChannel(), new Checker()];
      const notes = checker.subscriber();
      let subscriber: TestSocket = await join(channel);
      const collectOne = async () => {
        const { options, payload } = await subscriber.frame();
        notes.saw({ seq: options.seq, message: payload });
      };
      for (let round = 0; round < 10; round++) {
        await Promise.all(Array.from({ length: 10 }, (_, n) => say(checker, channel, `${round}.${n}`)));
        await evictDurableObject(stubOf(channel), { webSockets });
        if (webSockets === "hibernate") continue;
        await subscriber.close();
        while (subscriber.pending > 0) await collectOne();
        subscriber = await join(channel, { after: notes.seen().at(-1)?.seq ?? 0 });
      }
      while (notes.seen().length < 100) await collectOne();
      await alarm(channel);
      await expectWhole(checker, channel);
    },
  );
});

describe("a thousand clients that reconnect at once", () => {
  it("each get the messages that they missed, in order, before new ones (RES1)", async () => {
    const [channel, checker] = [await newOpenChannel(), new Checker()];
    const first = await Promise.all(Array.from({ length: 1_000 }, () => join(channel)));
    await say(checker, channel, "seen by all");
    await Promise.all(first.map((socket) => socket.frame()));
    await evictDurableObject(stubOf(channel), { webSockets: "close" });
    await publishMany(
      channel,
      Array.from({ length: 20 }, (_, n) => JSON.stringify(`missed ${n}`)),
    );
    const returned = Array.from({ length: 1_000 }, async () => {
      const notes = checker.subscriber();
      const socket = await join(channel, { after: 1 });
      for (const { options, payload } of await socket.frames(22)) notes.saw({ seq: options.seq, message: payload });
      expect(notes.seen()[0]?.seq).toBe(2);
    });
    await Promise.all([say(checker, channel, "new 1"), say(checker, channel, "new 2"), ...returned]);
    await alarm(channel);
    await expectWhole(checker, channel);
  });
});

describe("a clock that steps back", () => {
  it("changes neither the order of messages nor makes their times decrease (ORD3)", async () => {
    const [channel, checker] = [await newOpenChannel(), new Checker()];
    const now = Date.now();
    const times: string[] = [];
    for (const [index, step] of [0, 5_000, -60_000, -10, 86_400_000, -86_400_000].entries()) {
      vi.spyOn(Date, "now").mockReturnValue(now + step);
      const { seq, time } = await publish(channel, `message ${index}`);
      checker.acknowledge(seq, `message ${index}`);
      times.push(time);
      vi.restoreAllMocks();
      await evictDurableObject(stubOf(channel));
    }
    expect(times).toEqual(times.toSorted());
    await expectWhole(checker, channel);
  });
});

describe("a client whose heartbeats stop", () => {
  it("is closed with 1013 and removed; a client that never sent a heartbeat stays connected (CON7)", async () => {
    const channel = await newOpenChannel();
    const [vanished, simple] = [await join(channel), await join(channel)];
    vanished.send("ping");
    expect(await vanished.text()).toBe("pong");
    const later = Date.now() + HEARTBEAT_TIMEOUT_MS + 1_000;
    vi.spyOn(Date, "now").mockImplementation(() => later);
    await publish(channel, "somebody does something");
    vi.restoreAllMocks();
    expect((await vanished.frame()).payload).toBe("somebody does something");
    expect(await vanished.close()).toEqual({ code: 1013, reason: "gone" });
    await publish(channel, "and again");
    expect((await simple.frames(2)).map(({ payload }) => payload)).toEqual(["somebody does something", "and again"]);
    expect(vanished.pending).toBe(0);
  });

  it("stays removed after hibernation, even if it never completed the close", async () => {
    const channel = await newOpenChannel();
    const vanished = await join(channel);
    await runInDurableObject(stubOf(channel), (_, state) => {
      const [socket] = state.getWebSockets();
      if (!socket) throw new Error("the channel has no socket");
      new Sockets(
        state,
        () => null,
        () => {},
        new Metrics(channel),
      ).close(socket, 1013, "gone");
    });
    await evictDurableObject(stubOf(channel));
    const joined = await runInDurableObject(stubOf(channel), (_, state) =>
      state.getWebSockets().filter((socket) => (socket.deserializeAttachment() as Attachment).joined),
    );
    expect(joined).toEqual([]);
    expect((await vanished.close()).code).toBe(1013);
  });
});
