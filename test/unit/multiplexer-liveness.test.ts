import { afterEach, describe, expect, it, vi } from "vitest";
import { Backpressure, HEARTBEAT_TIMEOUT, MAX_UNCONFIRMED } from "../../src/channel/backpressure.ts";
import { MAX_CATCH_UP_BYTES, PROBE_AFTER_BYTES } from "../../src/http/client-monitor.ts";
import { CHECK_INTERVAL_MS } from "../../src/http/multiplexer.ts";
import { FRAMES_PER_SECOND, MAX_OPENS_PER_SOCKET } from "../../src/protocol/limits.ts";
import { connection, multiplexed, openObject } from "./multiplexer-support.ts";
import { call, newOpenChannel, type TestSocket } from "./support.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const join = (channel: string) => ({ action: "join", options: { channel } });

/** A connection that has joined a channel whose object the test plays. */
async function joined(parts: ReturnType<typeof connection>, channel: string, number: number): Promise<TestSocket> {
  parts.client.send(join(channel));
  const object = await parts.object(number);
  await object.frame();
  object.send({ action: "join", options: { channel, seq: 0 } });
  await parts.client.frame();
  return object;
}

/** A live message of this length, in characters of three bytes each. */
const event = (channel: string, seq: number, length: number) => ({
  action: "event",
  options: { channel, seq },
  payload: "€".repeat(length),
});

describe("a client that reads too slowly (CON7)", () => {
  it("is closed with 1013 after 8 MiB that no heartbeat confirmed, in bytes and over all channels", async () => {
    const parts = connection();
    const objects = [await joined(parts, "x", 1), await joined(parts, "y", 2)];
    const length = 20_000;
    const enough = Math.ceil(MAX_UNCONFIRMED / (length * 3));
    for (let seq = 1; seq <= enough; seq++) {
      const channel = seq % 2;
      objects[channel]?.send(event(channel ? "y" : "x", seq, length));
      // One heartbeat alone confirms nothing: it may have been sent before any of this was read.
      if (seq === 5) parts.client.send("ping");
    }
    expect(await parts.client.close()).toEqual({ code: 1013, reason: "slow" });
    for (const object of objects) expect((await object.close()).code).toBe(1000);
    // All that fits into the bound was sent first: two answers to joins, one to a heartbeat, and the messages.
    expect(parts.client.texts.length).toBeGreaterThan(enough - 2);
  });

  it("is not one whose heartbeats keep up, however much it is sent", async () => {
    const parts = connection();
    const object = await joined(parts, "x", 1);
    for (let seq = 1; seq <= 30; seq++) {
      object.send(event("x", seq, 300_000));
      expect((await parts.client.frame()).options.seq).toBe(seq);
      parts.client.send("ping");
      expect(await parts.client.text()).toBe("pong");
    }
  });

  it("is one that sends other frames instead of heartbeats: they do not say how far it has read", async () => {
    const parts = connection();
    const object = await joined(parts, "x", 1);
    for (let seq = 1; seq <= 10; seq++) {
      parts.client.send({ action: "message", options: { channel: "x" }, payload: seq });
      while ((await object.text()) === "ping") object.send("pong");
      object.send(event("x", seq, 300_000));
    }
    expect(await parts.client.close()).toEqual({ code: 1013, reason: "slow" });
  });

  it("is one that never reads, and sends frames all the time that the server refuses", async () => {
    const parts = connection();
    let now = Date.now();
    vi.spyOn(Date, "now").mockImplementation(() => now);
    // Each is answered with an error that names the channel.
    const frame = { action: "leave", options: { channel: "x".repeat(128) } };
    while (!parts.client.closed) {
      now += 1_000;
      for (let n = 0; n < FRAMES_PER_SECOND; n++) parts.client.send(frame);
      await parts.client.frames(FRAMES_PER_SECOND).catch(() => parts.client.close());
    }
    expect(await parts.client.close()).toEqual({ code: 1013, reason: "slow" });
  });

  it("is not one that joins many channels with long histories at once; what is live counts as ever", async () => {
    const parts = connection();
    const size = 1_000_000;
    const histories = Math.floor(MAX_CATCH_UP_BYTES / (size * 3)) - 1;
    for (let n = 1; n <= histories; n++) {
      const channel = `history/${n}`;
      parts.client.send({ ...join(channel), payload: { history: true, presence: false } });
      const object = await parts.object(n);
      await object.frame();
      object.send({ action: "join", options: { channel, seq: 1 }, payload: { history: true, presence: false } });
      object.send({ action: "history", options: { channel, seq: 1 }, payload: ["€".repeat(size)] });
      expect((await parts.client.frames(2)).map(({ action }) => action)).toEqual(["join", "history"]);
    }
    const object = await parts.object(1);
    for (let seq = 2; seq <= 4; seq++) object.send(event("history/1", seq, size));
    expect(await parts.client.close()).toEqual({ code: 1013, reason: "slow" });
  });
});

describe("a client that sends no heartbeats (MUX7)", () => {
  const LENGTH = 300_000;
  const PER_QUESTION = Math.ceil(PROBE_AFTER_BYTES / (LENGTH * 3));
  const rejoin = { ...join("x"), payload: { history: false, presence: false } };

  /** Sends live messages until the client is asked to confirm. */
  async function untilAsked(parts: ReturnType<typeof connection>, object: TestSocket, from: number): Promise<void> {
    for (let seq = from; seq < from + PER_QUESTION; seq++) {
      object.send(event("x", seq, LENGTH));
      expect((await parts.client.frame()).options.seq).toBe(seq);
    }
    expect(await parts.client.frame()).toEqual({
      action: "connection_status",
      options: { channel: "x" },
      payload: { status: "connected" },
    });
  }

  /** The next frame from the client, without heartbeats, which are the Worker's own. */
  async function clientFrame(object: TestSocket): Promise<unknown> {
    for (;;) {
      const text = await object.text();
      if (text !== "ping") return JSON.parse(text);
      object.send("pong");
    }
  }

  it("is asked to confirm halfway to the bound; a join again is the confirmation, and goes nowhere else", async () => {
    const parts = connection();
    const object = await joined(parts, "x", 1);
    for (let question = 0; question < 5; question++) {
      await untilAsked(parts, object, question * PER_QUESTION + 1);
      parts.client.send(rejoin);
      const message = { action: "message", options: { channel: "x" }, payload: question };
      parts.client.send(message);
      expect(await clientFrame(object)).toEqual(message);
    }
  });

  it("is asked once at a time, and closed as slow if it does not confirm", async () => {
    const parts = connection();
    const object = await joined(parts, "x", 1);
    await untilAsked(parts, object, 1);
    for (let seq = 100; seq < 100 + PER_QUESTION; seq++) object.send(event("x", seq, LENGTH));
    expect(await parts.client.close()).toEqual({ code: 1013, reason: "slow" });
    expect(parts.client.texts.filter((text) => text.includes("connection_status"))).toHaveLength(1);
  });

  it.each([
    ["after a leave", [{ action: "leave", options: { channel: "x" } }, rejoin]],
    ["with a position", [{ ...rejoin, options: { channel: "x", after: 3 } }]],
  ])("joins in earnest, if it joins %s, whatever it was asked", async (_, frames) => {
    const parts = connection();
    const object = await joined(parts, "x", 1);
    await untilAsked(parts, object, 1);
    for (const frame of frames) parts.client.send(frame);
    for (const frame of frames) expect(await clientFrame(object)).toEqual(frame);
  });

  it("is asked nothing once it has sent a heartbeat", async () => {
    const parts = connection();
    const object = await joined(parts, "x", 1);
    parts.client.send("ping");
    expect(await parts.client.text()).toBe("pong");
    for (let seq = 1; seq <= PER_QUESTION + 1; seq++) {
      object.send(event("x", seq, LENGTH));
      expect((await parts.client.frame()).options.seq).toBe(seq);
    }
  });
});

/** Lets so much time pass that each check of the connection happens. */
async function pass(milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 5_000) await vi.advanceTimersByTimeAsync(5_000);
}

/** Puts the clock and the connection's timer into the test's hands. */
function holdClock(): void {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"], now: Date.now() });
}

describe("a client that vanished without closing (CON7, PRE4)", () => {
  async function present(channel: string): Promise<number> {
    const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/presence`);
    return (await answer.json<{ total: number }>()).total;
  }

  it("is closed with 1013 and leaves presence within 120 seconds of its last sign of life", async () => {
    const channel = await newOpenChannel({ presence: true });
    holdClock();
    // The object's own check compares the held clock with the runtime's, which stamps heartbeats and goes on.
    vi.spyOn(Backpressure.prototype, "look").mockReturnValue([]);
    const client = multiplexed(async (name) => ({ ok: true, value: await openObject(name) }));
    client.send(join(channel));
    await client.frame();
    expect(await present(channel)).toBe(1);
    // Two heartbeats in a row, and a frame of another kind: each is a sign of life.
    for (let n = 0; n < 2; n++) {
      client.send("ping");
      expect(await client.text()).toBe("pong");
      await pass(HEARTBEAT_TIMEOUT - 10_000);
    }
    client.send({ action: "message", options: { channel }, payload: "still here" });
    await client.frame();
    await pass(HEARTBEAT_TIMEOUT - 10_000);
    expect(client.closed).toBeUndefined();
    expect(await present(channel)).toBe(1);
    await pass(40_000);
    expect(await client.close()).toEqual({ code: 1013, reason: "gone" });
    await vi.waitUntil(async () => (await present(channel)) === 0, { timeout: 10_000 });
  });

  it("stays, if it never sent a heartbeat: its silence says nothing", async () => {
    holdClock();
    const parts = connection();
    const object = await joined(parts, "x", 1);
    // The object is alive.
    object.socket.addEventListener("message", ({ data }) => data === "ping" && object.send("pong"));
    await pass(3_600_000);
    object.send(event("x", 1, 1));
    expect((await parts.client.frame()).action).toBe("event");
  });
});

describe("the timer of a connection", () => {
  it("is one for all of its channels, and ends with the connection", async () => {
    const set = vi.spyOn(globalThis, "setInterval");
    const cleared = vi.spyOn(globalThis, "clearInterval");
    const parts = connection();
    for (const [index, channel] of ["x", "y", "z"].entries()) await joined(parts, channel, index + 1);
    expect(set).toHaveBeenCalledTimes(1);
    parts.client.socket.close(1000);
    for (const number of [1, 2, 3]) await (await parts.object(number)).close();
    expect(cleared).toHaveBeenCalledWith(set.mock.results[0]?.value);
  });

  it("sends a heartbeat to each channel object; one that stays silent gets a new socket, each time", async () => {
    holdClock();
    const parts = connection();
    let object = await joined(parts, "x", 1);
    for (let number = 2; number <= 3; number++) {
      await vi.advanceTimersByTimeAsync(CHECK_INTERVAL_MS);
      expect(await object.text()).toBe("ping");
      object.send("pong");
      await pingArrived(parts.client);
      await vi.advanceTimersByTimeAsync(CHECK_INTERVAL_MS);
      expect(await object.text()).toBe("ping");
      // This one is not answered.
      await vi.advanceTimersByTimeAsync(CHECK_INTERVAL_MS);
      expect((await object.close()).code).toBe(1000);
      object = await parts.object(number);
      expect(await object.frame()).toMatchObject({ action: "join", options: { after: number - 2 } });
      const seq = number - 1;
      object.send({ action: "join", options: { channel: "x", seq, resumed: true, replayed: 1 } });
      object.send(event("x", seq, 1));
      expect((await parts.client.frame()).options.seq).toBe(seq);
    }
  });

  /** What the object sent before has been read when a heartbeat of the client has come back. */
  async function pingArrived(client: TestSocket): Promise<void> {
    client.send("ping");
    expect(await client.text()).toBe("pong");
  }
});

describe(`a connection that has opened ${MAX_OPENS_PER_SOCKET} sockets to channel objects (LIM10)`, () => {
  it("is closed with 1012 before the platform refuses more; the next connection starts again", async () => {
    // Faster than the limit on frames, which is another test's.
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
    let opened = 0;
    const start = () =>
      multiplexed(async (channel) => {
        opened += 1;
        const { 0: here, 1: there } = new WebSocketPair();
        there.addEventListener("message", ({ data }) => {
          const { action } = JSON.parse(String(data)) as { action: string };
          there.send(JSON.stringify({ action, options: { channel, seq: 0 } }));
        });
        there.accept();
        return { ok: true, value: here };
      });
    const client = start();
    for (let n = 1; n <= MAX_OPENS_PER_SOCKET; n++) {
      vi.setSystemTime(Date.now() + 1_000);
      for (const action of ["join", "leave"]) {
        client.send({ action, options: { channel: "x" } });
        expect((await client.frame()).action).toBe(action);
      }
    }
    client.send(join("x"));
    expect((await client.close()).code).toBe(1012);
    expect(opened).toBe(MAX_OPENS_PER_SOCKET);
    const next = start();
    next.send(join("x"));
    expect((await next.frame()).action).toBe("join");
  });
});
