import { afterEach, describe, expect, it, vi } from "vitest";
import { MAX_UNCONFIRMED } from "../../src/channel/backpressure.ts";
import { SenderBudgets } from "../../src/channel/budgets.ts";
import { Recent } from "../../src/channel/recent.ts";
import * as limits from "../../src/protocol/limits.ts";
import { utf8Length } from "../../src/protocol/utf8.ts";
import {
  API_KEY,
  connect,
  connectToMany,
  history,
  join,
  newDatabase,
  newOpenChannel,
  request,
  type TestSocket,
  stopClock,
  tokenOf,
} from "./support.ts";

const ADDRESS = "192.0.2.7";
const BIG = "x".repeat(60_000);
/** So many of the big ones fit into the bytes that one sender may send at once; the last may be more than is left. */
const BIG_AT_ONCE = Math.ceil(limits.SENDER_BYTES_AT_ONCE / 60_000);

afterEach(() => vi.restoreAllMocks());

interface BatchResult {
  status: number;
  seq?: number;
  type?: string;
  retryAfter?: number;
}

/** Publishes a batch as an anonymous client of one address, or with these headers. */
async function batch(channel: string, messages: unknown[], headers: Record<string, string> = {}) {
  const answer = await request("/messages", {
    method: "POST",
    headers: { "Content-Type": "application/json", "CF-Connecting-IP": ADDRESS, ...headers },
    body: JSON.stringify(messages.map((message) => ({ channel, message }))),
  });
  return (await answer.json<{ results: BatchResult[] }>()).results;
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);
const statuses = (results: BatchResult[]) => results.map(({ status }) => status);
const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

/** Sends big messages, and returns what became of each: `message`, or the code of the refusal and the seconds to wait. */
async function sendBig(socket: TestSocket, count: number, options: object = {}): Promise<string[]> {
  for (let n = 0; n < count; n++) socket.send({ action: "message", options, payload: BIG });
  return (await socket.frames(count)).map(({ action, payload }) =>
    action === "error" ? `${payload.code} ${payload.retryAfter}` : action,
  );
}

describe("what one sender may publish (LIM12)", () => {
  it("counts each message of a batch: 1,000 at once, then 50 per second", async () => {
    const pass = stopClock();
    const channel = await newOpenChannel();
    const first = await batch(channel, numbers(limits.SENDER_MESSAGES_AT_ONCE));
    expect(statuses(first)).toEqual(times(limits.SENDER_MESSAGES_AT_ONCE, 201));
    const [refused] = await batch(channel, ["more"]);
    expect(refused).toMatchObject({ status: 429, type: "/problems/rate-limited", retryAfter: 1 });
    pass(1_000);
    const more = await batch(channel, numbers(60));
    expect(statuses(more)).toEqual([...times(50, 201), ...times(10, 429)]);
    expect((await history(channel)).seq).toBe(limits.SENDER_MESSAGES_AT_ONCE + 50);
  });

  it("refuses all that follows a refused message in a batch, so that order is kept", async () => {
    stopClock();
    const channel = await newOpenChannel();
    await batch(channel, numbers(limits.SENDER_MESSAGES_AT_ONCE - 3));
    const key = { "Idempotency-Key": "again" };
    expect(statuses(await batch(channel, numbers(5), key))).toEqual([201, 201, 201, 429, 429]);
    expect((await history(channel)).messages.slice(-3).map(({ payload }) => payload)).toEqual([1, 2, 3]);
  });

  it("takes nothing for messages that are known already, so a batch can be sent again until all of it is stored", async () => {
    const pass = stopClock();
    const channel = await newOpenChannel();
    await batch(channel, numbers(limits.SENDER_MESSAGES_AT_ONCE - 3));
    const key = { "Idempotency-Key": "again" };
    await batch(channel, numbers(5), key);
    pass(1_000);
    const results = await batch(channel, numbers(5), key);
    expect(statuses(results)).toEqual(times(5, 201));
    expect(results.map(({ seq }) => seq)).toEqual([998, 999, 1000, 1001, 1002]);
  });

  it("counts bytes of UTF-8, over HTTP", async () => {
    stopClock();
    const channel = await newOpenChannel();
    const text = "€".repeat(20_000);
    const results = [];
    for (let n = 0; n <= BIG_AT_ONCE; n++) results.push(...(await batch(channel, [text])));
    expect(statuses(results)).toEqual([...times(BIG_AT_ONCE, 201), 429]);
    expect(results.at(-1)?.retryAfter).toBe(1);
  });

  it("takes nothing for what the channel's settings refuse", async () => {
    stopClock();
    const channel = await newOpenChannel({ public_messaging: { active: false } });
    for (let n = 0; n < 2; n++) {
      expect(statuses(await batch(channel, numbers(1_000)))).toEqual(times(1_000, 403));
    }
  });

  it("does not hold for API-key clients", async () => {
    stopClock();
    const channel = await newOpenChannel();
    for (let n = 0; n < 2; n++) {
      const results = await batch(channel, numbers(1_000), { Authorization: `Bearer ${API_KEY}` });
      expect(statuses(results)).toEqual(times(1_000, 201));
    }
  });

  it("holds for an address by HTTP, and not for the sockets of that address", async () => {
    stopClock();
    const channel = await newOpenChannel();
    await batch(channel, numbers(limits.SENDER_MESSAGES_AT_ONCE));
    const socket = await connect(channel, { "CF-Connecting-IP": ADDRESS });
    socket.send({ action: "join" });
    await socket.frame();
    expect(await sendBig(socket, 1)).toEqual(["message"]);
    expect(statuses(await batch(channel, [1], { "CF-Connecting-IP": "192.0.2.8" }))).toEqual([201]);
  });
});

describe("what one sender may send over sockets (LIM12)", () => {
  it("is so many bytes at once, then so many per second", async () => {
    const pass = stopClock();
    const channel = await newOpenChannel();
    const socket = await join(channel);
    expect(await sendBig(socket, BIG_AT_ONCE + 2)).toEqual([
      ...times(BIG_AT_ONCE, "message"),
      ...times(2, "rate-limited 1"),
    ]);
    pass(1_000);
    expect(await sendBig(socket, 2)).toEqual(["message", "rate-limited 1"]);
    expect((await history(channel)).seq).toBe(BIG_AT_ONCE + 1);
  });

  it("holds over /rt/, too", async () => {
    stopClock();
    const channel = await newOpenChannel();
    const socket = await connectToMany();
    socket.send({ action: "join", options: { channel } });
    await socket.frame();
    const sent = await sendBig(socket, BIG_AT_ONCE + 1, { channel });
    expect(sent).toEqual([...times(BIG_AT_ONCE, "message"), "rate-limited 1"]);
  });

  it("counts private messages: a recipient that keeps its heartbeat is not closed as slow", async () => {
    stopClock();
    const channel = await newOpenChannel({ private_messaging: { active: true } });
    const [sender, recipient] = [await join(channel), await join(channel)];
    const options = { socketId: recipient.client.socketId };
    // The frames of the refusals are all that the sender gets.
    for (let n = 0; n < 90; n++) sender.send({ action: "message", options, payload: BIG });
    const refusals = await sender.frames(90 - BIG_AT_ONCE);
    expect(new Set(refusals.map(({ payload }) => String(payload.code)))).toEqual(new Set(["rate-limited"]));
    await recipient.frames(BIG_AT_ONCE);
    expect([recipient.pending, recipient.closed]).toEqual([0, undefined]);
  });

  it("is one budget for all sockets of a user, and for what it publishes by HTTP", async () => {
    stopClock();
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const token = await tokenOf(database, 1);
    const [one, two] = [
      await join(channel, {}, {}, token),
      await connect(channel, { "Sec-WebSocket-Protocol": token }),
    ];
    expect(await sendBig(one, BIG_AT_ONCE)).toEqual(times(BIG_AT_ONCE, "message"));
    expect(await sendBig(two, 1)).toEqual(["rate-limited 1"]);
    expect(statuses(await batch(channel, ["by HTTP"], { Authorization: `Bearer ${token}` }))).toEqual([429]);
    expect(
      statuses(await batch(channel, ["another"], { Authorization: `Bearer ${await tokenOf(database, 2)}` })),
    ).toEqual([201]);
  });

  it("is a budget of its own for each anonymous socket of an address, as a school has but one", async () => {
    stopClock();
    const channel = await newOpenChannel();
    const headers = { "CF-Connecting-IP": ADDRESS };
    const [one, two] = [await connect(channel, headers), await connect(channel, headers)];
    const witness = await join(channel);
    for (let n = 0; n < BIG_AT_ONCE; n++) one.send({ action: "message", payload: BIG });
    await witness.frames(BIG_AT_ONCE);
    two.send({ action: "message", payload: "hello" });
    expect((await witness.frame()).payload).toBe("hello");
  });

  it("is bounded for all anonymous sockets of an address together, also for new ones", () => {
    stopClock();
    const budgets = new SenderBudgets();
    let sent = 0;
    const sockets = times(20, null).map(() => new WebSocketPair()[0]);
    for (const socket of sockets) {
      const budget = budgets.of(`address:${ADDRESS}`, socket);
      while (!budget.refusal) {
        budget.charge(60_000);
        sent += 60_000;
      }
    }
    expect(sent).toBeGreaterThanOrEqual(limits.ADDRESS_BYTES_AT_ONCE);
    expect(sent).toBeLessThan(limits.ADDRESS_BYTES_AT_ONCE + 60_000);
  });

  it("counts what goes with each message about its sender", async () => {
    stopClock();
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const extras = { about: "é".repeat(1_900) };
    const socket = await join(channel, {}, {}, await tokenOf(database, 1, { extras }));
    const answers = [];
    const perSocket = limits.FRAMES_AT_ONCE - 1;
    for (let n = 0; n < perSocket; n++) socket.send({ action: "message", payload: "x".repeat(8_000) });
    for (const { action } of await socket.frames(perSocket)) answers.push(action);
    expect(answers.filter((action) => action === "message")).toHaveLength(
      Math.ceil(limits.SENDER_BYTES_AT_ONCE / (8_002 + utf8Length(JSON.stringify(socket.client)))),
    );
  });

  it("is less than what makes a recipient slow that sends a heartbeat every 30 seconds (CON7)", () => {
    // Its last heartbeat confirms what was sent before the one before, at the last look at it: each half mebibyte.
    const secondsUnconfirmed = 60 + (2 * 512 * 1024) / limits.SENDER_BYTES_PER_SECOND;
    const restOfFrames = 250 * limits.SENDER_MESSAGES_PER_SECOND * secondsUnconfirmed;
    const payloads = limits.SENDER_BYTES_AT_ONCE + limits.SENDER_BYTES_PER_SECOND * secondsUnconfirmed;
    expect(payloads + limits.MAX_BODY_BYTES + restOfFrames).toBeLessThan(MAX_UNCONFIRMED);
  });
});

describe("what is remembered of senders", () => {
  it("is bounded: of those that were quiet for longest, nothing", () => {
    let made = 0;
    const recent = new Recent(2, () => ({ number: ++made }));
    expect([recent.get("a").number, recent.get("b").number, recent.get("a").number]).toEqual([1, 2, 1]);
    expect([recent.get("c").number, recent.get("a").number, recent.get("b").number]).toEqual([3, 1, 4]);
  });
});
