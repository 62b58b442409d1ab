import { afterEach, describe, expect, it, vi } from "vitest";
import { MAX_WAITING_FRAMES } from "../../src/adapters/xano/link.ts";
import { MAX_WAITING_BYTES } from "../../src/adapters/xano/multiplexer.ts";
import { refuse } from "../../src/protocol/errors.ts";
import type { Frame } from "../support/frames.ts";
import { connection, multiplexed, openObject } from "./multiplexer-support.ts";
import { call, history as historyOf, newDatabase, newOpenChannel, run, TestSocket } from "./support.ts";

afterEach(() => vi.useRealTimers());

/**
 * A client whose sockets to a real channel object break: the first when the object has sent `cuts[0]` frames that arrived,
 * the second after `cuts[1]`, and so on. Further sockets stay. `broken` counts the breaks.
 */
function fragile(cuts: number[]) {
  const state = { opened: 0, broken: 0 };
  const client = multiplexed(async (channel) => {
    const object = await openObject(channel);
    const { 0: here, 1: there } = new WebSocketPair();
    let left = cuts[state.opened++] ?? Infinity;
    const cut = () => {
      if (left === -1) return;
      left = -1;
      state.broken += 1;
      there.close(1011);
      object.close(1000);
    };
    object.addEventListener("message", ({ data }) => {
      if (left <= 0) return cut();
      left -= 1;
      there.send(data);
    });
    there.addEventListener("message", ({ data }) => {
      if (left !== -1) object.send(data);
    });
    there.addEventListener("close", () => object.close(1000));
    object.accept();
    there.accept();
    return { ok: true, value: here };
  });
  return { client, state };
}

/** Messages 1 to 6 of which 2 and 5 are for authenticated clients only; 7, 8 (for them only) and 9 follow live. */
const VISIBLE_AFTER_2 = [3, 4, 6, 7, 9];
const RESTRICTED = new Set([2, 5, 8]);

async function say(channel: string, database: string, seqs: number[]): Promise<void> {
  const batch = seqs.map((seq) => ({ channel, message: seq, ...(RESTRICTED.has(seq) ? { database } : {}) }));
  const { results } = await (await call("POST", "/messages", batch)).json<{ results: object[] }>();
  expect(results).toMatchObject(seqs.map((seq) => ({ status: 201, seq })));
}

interface Scenario {
  options: object;
  payload: object;
  /** Frames that the object sends over a socket that never breaks. */
  frames: number;
}

/** Joins over sockets that break after these numbers of frames, and returns all frames up to the last live message. */
async function received({ options, payload }: Scenario, database: string, cuts: number[]) {
  const settings = { database, presence: true };
  const channel = await newOpenChannel(settings);
  await say(channel, database, run(1, 6));
  const { client, state } = fragile(cuts);
  client.send({ action: "join", options: { channel, ...options }, payload });
  const joined = await client.frame();
  await say(channel, database, run(7, 9));
  const frames = [joined];
  while (lastSeq(frames) < 9) frames.push(await client.frame());
  // What a break right at the end brings again would arrive before this.
  client.send({ action: "message", options: { channel }, payload: 10 });
  while (lastSeq(frames) < 10) frames.push(await client.frame());
  client.socket.close(1000);
  return { frames: frames.slice(0, -1), broken: state.broken };
}

/** The messages in the order in which the client received them, whether in a history or as frames of their own. */
const seqsIn = (frames: Frame[]) =>
  frames.flatMap(({ action, options, payload }) => {
    if (action === "history") return (payload as Frame[]).map((frame) => frame.options.seq);
    return action === "event" ? options.seq : [];
  });
const lastSeq = (frames: Frame[]) =>
  Math.max(0, ...frames.map(({ action, options }) => (action === "event" || action === "message" ? options.seq : 0)));
const count = (frames: Frame[], wanted: string) => frames.filter(({ action }) => action === wanted).length;

describe("a link that breaks while frames with an id wait for their answers (MUX8)", () => {
  const message = (channel: string, id: string, more: object = {}) => ({
    action: "message",
    options: { channel, id, ...more },
    payload: id,
  });

  it("sends them again in order, and each is stored and answered once, wherever the break falls", async () => {
    for (const cut of run(1, 7)) {
      const channel = await newOpenChannel();
      const { client, state } = fragile([cut, 2]);
      client.send({ action: "join", options: { channel, id: "j" } });
      expect((await client.frame()).action).toBe("join");
      for (const id of ["a", "b", "c"]) client.send(message(channel, id));
      const acks: string[] = [];
      while (acks.length < 3) {
        const { action, options } = await client.frame();
        if (action === "ack") acks.push(`${(options as unknown as { id: string }).id}:${options.seq}`);
      }
      expect([cut, acks]).toEqual([cut, ["a:1", "b:2", "c:3"]]);
      expect((await historyOf(channel)).messages.map(({ payload }) => payload)).toEqual(["a", "b", "c"]);
      if (cut < 7) expect(state.broken).toBeGreaterThan(0);
      client.socket.close(1000);
    }
  });

  it("refuses those that are not stored, because they may have been delivered", async () => {
    const channel = await newOpenChannel();
    const { client, object } = connection();
    client.send({ action: "join", options: { channel } });
    const first = await object(1);
    await first.frame();
    first.send({ action: "join", options: { channel, seq: 0 }, payload: { history: false, presence: false } });
    await client.frame();
    client.send(message(channel, "typing", { ephemeral: true }));
    client.send(message(channel, "kept"));
    await first.frames(2);
    first.socket.close(1011);
    const refused = await client.frame();
    expect(refused).toMatchObject({ action: "error", options: { id: "typing" }, payload: { code: "unavailable" } });
    const second = await object(2);
    expect((await second.frame()).action).toBe("join");
    second.send({ action: "join", options: { channel, seq: 0, resumed: true, replayed: 0 }, payload: {} });
    expect((await second.frame()).payload).toBe("kept");
  });

  it("gives a member its state again", async () => {
    const channel = await newOpenChannel({ presence: true });
    const { client } = fragile([3]);
    client.send({ action: "join", options: { channel } });
    await client.frame();
    client.send({ action: "presence", options: { channel, id: "p" }, payload: { name: "Carol" } });
    expect((await client.frame()).action).toBe("ack");
    for (const id of ["a", "b"]) client.send(message(channel, id));
    for (const _ of run(1, 4)) await client.frame();
    const states = async () => {
      const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/presence`);
      const { presence } = await answer.json<{ presence: { state?: object }[] }>();
      return presence.map((member) => member.state);
    };
    await vi.waitUntil(async () => (await states()).length === 1, { timeout: 10_000, interval: 20 });
    expect(await states()).toEqual([{ name: "Carol" }]);
    expect(client.pending).toBe(0);
  });
});

describe("a link that breaks during a catch-up, and again while it recovers (MUX3)", () => {
  const scenarios: [string, Scenario & { seqs: number[]; histories: number }][] = [
    ["a plain join", { options: {}, payload: {}, frames: 3, seqs: [7, 9], histories: 0 }],
    ["after", { options: { after: 2 }, payload: {}, frames: 6, seqs: VISIBLE_AFTER_2, histories: 0 }],
    ["history", { options: {}, payload: { history: true }, frames: 4, seqs: [1, ...VISIBLE_AFTER_2], histories: 1 }],
    [
      "after and history",
      { options: { after: 2 }, payload: { history: true }, frames: 6, seqs: VISIBLE_AFTER_2, histories: 0 },
    ],
    [
      "a position ahead of the channel, and history",
      { options: { after: 99 }, payload: { history: true }, frames: 4, seqs: [1, ...VISIBLE_AFTER_2], histories: 1 },
    ],
    [
      "history and presence",
      {
        options: {},
        payload: { history: true, presence: true },
        frames: 5,
        seqs: [1, ...VISIBLE_AFTER_2],
        histories: 1,
      },
    ],
    [
      "after and presence",
      { options: { after: 2 }, payload: { presence: true }, frames: 7, seqs: VISIBLE_AFTER_2, histories: 0 },
    ],
  ];

  it.for(scenarios)("loses no message at any frame: %s", { timeout: 240_000 }, async ([, scenario]) => {
    const database = await newDatabase();
    const untouched = await received(scenario, database, []);
    expect(untouched.frames).toHaveLength(scenario.frames);
    const positions = run(0, scenario.frames);
    let broken = 0;
    for (const first of positions) {
      const all = await Promise.all(positions.map((second) => received(scenario, database, [first, second])));
      for (const [second, { frames, broken: times }] of all.entries()) {
        const where = `breaks after ${first} and ${second} frames`;
        expect(seqsIn(frames), where).toEqual(scenario.seqs);
        expect(count(frames, "join"), where).toBe(1);
        expect(frames[0]?.action, where).toBe("join");
        expect(count(frames, "history"), where).toBe(scenario.histories);
        broken += times;
      }
    }
    // Both breaks happened wherever there were frames to break at.
    expect(broken).toBeGreaterThan(positions.length * positions.length);
  });
});

const wish = { action: "join", options: { channel: "x" }, payload: { history: false, presence: false } };
const joined = { action: "join", options: { channel: "x", seq: 5 } };
const leave = { action: "leave", options: { channel: "x" } };

/** A connection that has joined `x` at 5, with its first object socket. */
async function joinedConnection() {
  const parts = connection();
  parts.client.send(wish);
  const first = await parts.object(1);
  await first.frame();
  first.send(joined);
  await parts.client.frame();
  return { ...parts, first };
}

describe("a frame that a client sends while its link is broken", () => {
  it("is answered, if it is a leave: nothing is joined again (JOI5)", async () => {
    const { client, object, objects, first } = await joinedConnection();
    first.socket.close(1011);
    const second = await object(2);
    await second.frame();
    client.send(leave);
    expect(await client.frame()).toMatchObject(leave);
    await second.close();
    client.send({ action: "message", options: { channel: "x" }, payload: 1 });
    expect((await client.frame()).payload).toMatchObject({ code: "not-joined" });
    expect(objects).toHaveLength(2);
  });

  it("is answered, if it is a leave whose answer was lost", async () => {
    const { client, first } = await joinedConnection();
    client.send(leave);
    expect(await first.frame()).toEqual(leave);
    first.socket.close(1011);
    expect(await client.frame()).toMatchObject(leave);
    client.send({ action: "message", options: { channel: "x" }, payload: 1 });
    expect((await client.frame()).payload).toMatchObject({ code: "not-joined" });
  });

  it("is one leave and one new join, if both were sent before the break was known", async () => {
    const { client, object, first } = await joinedConnection();
    client.send(leave);
    client.send({ ...wish, options: { channel: "x", after: 3 } });
    await first.frames(2);
    first.socket.close(1011);
    const second = await object(2);
    expect(await client.frame()).toMatchObject(leave);
    expect(await second.frame()).toEqual({ ...wish, options: { channel: "x", after: 3 } });
    second.send({ action: "join", options: { channel: "x", seq: 4, resumed: true, replayed: 1 } });
    second.send({ action: "event", options: { channel: "x", seq: 4 }, payload: 4 });
    expect((await client.frames(2)).map(({ action }) => action)).toEqual(["join", "event"]);
  });

  it("is one leave and one new join, if they were sent while the link was returning", async () => {
    const { client, object, first } = await joinedConnection();
    first.socket.close(1011);
    await (await object(2)).frame();
    client.send(leave);
    client.send(wish);
    expect(await client.frame()).toMatchObject(leave);
    const third = await object(3);
    expect(await third.frame()).toEqual(wish);
    third.send({ ...joined, options: { channel: "x", seq: 9 } });
    expect(await client.frame()).toMatchObject({ action: "join", options: { seq: 9 } });
  });

  it("keeps its order, if messages come before the leave", async () => {
    const { client, object, first } = await joinedConnection();
    first.socket.close(1011);
    const second = await object(2);
    await second.frame();
    client.send({ action: "message", options: { channel: "x" }, payload: "last words" });
    client.send(leave);
    second.send({ action: "join", options: { channel: "x", seq: 5, resumed: true, replayed: 0 } });
    expect((await second.frames(2)).map(({ action }) => action)).toEqual(["message", "leave"]);
    second.send(leave);
    expect(await client.frame()).toMatchObject(leave);
  });

  it("is sent again, if it is a history whose answer was lost (FRA3)", async () => {
    const { client, object, first } = await joinedConnection();
    const history = { action: "history", options: { channel: "x" } };
    client.send(history);
    await first.frame();
    first.socket.close(1011);
    const second = await object(2);
    expect(await second.frame()).toMatchObject({ action: "join", options: { after: 5 } });
    second.send({ action: "join", options: { channel: "x", seq: 5, resumed: true, replayed: 0 } });
    expect(await second.frame()).toEqual(history);
    second.send({ action: "history", options: { channel: "x", seq: 5 }, payload: [] });
    expect((await client.frame()).action).toBe("history");
    // It was answered, so the next break does not ask for it.
    second.socket.close(1011);
    const third = await object(3);
    await third.frame();
    third.send({ action: "join", options: { channel: "x", seq: 5, resumed: true, replayed: 0 } });
    client.send({ action: "message", options: { channel: "x" }, payload: "next" });
    expect((await third.frame()).action).toBe("message");
  });

  /** Breaks the link to the object. The first frame after the link's own join must be a new message. */
  async function expectNothingSentAgain({ client, object, first }: Awaited<ReturnType<typeof joinedConnection>>) {
    first.socket.close(1011);
    const second = await object(2);
    await second.frame();
    second.send({ action: "join", options: { channel: "x", seq: 5, resumed: true, replayed: 0 } });
    client.send({ action: "message", options: { channel: "x" }, payload: "next" });
    expect((await second.frame()).action).toBe("message");
  }

  it("is not sent again, if the channel refused it", async () => {
    const opened = await joinedConnection();
    const { client, first } = opened;
    client.send({ action: "history", options: { channel: "x" } });
    await first.frame();
    first.send({ action: "error", options: { channel: "x" }, payload: { code: "forbidden" } });
    await client.frame();
    await expectNothingSentAgain(opened);
  });

  it("is not sent again, if it is a second join that the channel refused as one too many (LIM13)", async () => {
    const opened = await joinedConnection();
    const { client, first } = opened;
    client.send({ ...wish, options: { channel: "x", after: 0 } });
    await first.frame();
    const refusal = { code: "rate-limited", field: "action", retryAfter: 1 };
    first.send({ action: "error", options: { channel: "x" }, payload: refusal });
    expect((await client.frame()).payload).toEqual(refusal);
    await expectNothingSentAgain(opened);
  });

  it("is answered once, after the missed messages, if it is a second join", async () => {
    const { client, object, first } = await joinedConnection();
    const again = { ...wish, payload: { history: true, presence: true } };
    client.send(again);
    expect(await first.frame()).toEqual(again);
    first.send({ action: "join", options: { channel: "x", seq: 5 }, payload: { history: true, presence: true } });
    first.send({ action: "history", options: { channel: "x", seq: 5 }, payload: [] });
    first.socket.close(1011);
    const second = await object(2);
    expect(await second.frame()).toMatchObject({ options: { after: 5 }, payload: { presence: false } });
    second.send({ action: "join", options: { channel: "x", seq: 6, resumed: true, replayed: 1 } });
    second.send({ action: "event", options: { channel: "x", seq: 6 }, payload: "missed" });
    expect(await second.frame()).toEqual(again);
    second.send({ action: "join", options: { channel: "x", seq: 6 }, payload: { history: true, presence: true } });
    second.send({ action: "history", options: { channel: "x", seq: 6 }, payload: [] });
    second.send({ action: "presence_full", options: { channel: "x", total: 0 }, payload: { presence: [] } });
    const actions = (await client.frames(4)).map(({ action }) => action);
    expect(actions).toEqual(["event", "join", "history", "presence_full"]);
  });

  it("is accepted by the channel object, even if many frames waited (LIM6)", async () => {
    const channel = await newOpenChannel();
    const breaks: (() => void)[] = [];
    const reachable = Promise.withResolvers<void>();
    const client = multiplexed(async (name) => {
      if (breaks.length > 0) await reachable.promise;
      const { 0: here, 1: there } = new WebSocketPair();
      const object = await openObject(name);
      let isBroken = false;
      object.addEventListener("message", ({ data }) => isBroken || there.send(data));
      there.addEventListener("message", ({ data }) => isBroken || object.send(data));
      object.accept();
      there.accept();
      breaks.push(() => {
        isBroken = true;
        object.close(1000);
        there.close(1011);
      });
      return { ok: true, value: here };
    });
    client.send({ action: "join", options: { channel } });
    await client.frame();
    breaks[0]?.();
    // The Worker's own limit on frames is full again.
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10_000 });
    for (let n = 1; n <= MAX_WAITING_FRAMES; n++) {
      client.send({ action: "message", options: { channel }, payload: n });
    }
    // The Worker has taken all of them when it answers this.
    client.send("ping");
    expect(await client.text()).toBe("pong");
    reachable.resolve();
    const echoed = await client.frames(MAX_WAITING_FRAMES);
    expect(echoed.map(({ payload }) => payload as unknown)).toEqual(run(1, MAX_WAITING_FRAMES));
  });

  it(`closes the connection with 1012, if it is more than ${MAX_WAITING_FRAMES} frames for a channel`, async () => {
    const client = multiplexed(() => new Promise(() => {}));
    const message = { action: "message", options: { channel: "x" }, payload: 1 };
    client.send({ ...wish, options: { channel: "x" } });
    for (let n = 2; n <= MAX_WAITING_FRAMES; n++) client.send(message);
    client.send("ping");
    expect(await client.text()).toBe("pong");
    client.send(message);
    expect(await client.close()).toEqual({ code: 1012, reason: "a channel was lost" });
  });

  it(`closes the connection with 1012, if it is more than ${MAX_WAITING_BYTES} bytes, over all channels`, async () => {
    const client = multiplexed(() => new Promise(() => {}));
    // Three bytes a character: by characters it would be a third of it.
    const payload = "€".repeat(21_000);
    const frames = Math.ceil(MAX_WAITING_BYTES / 63_000) + 1;
    for (const channel of ["x", "y"]) client.send({ ...wish, options: { channel } });
    for (let n = 0; n < frames; n++) {
      client.send({ action: "message", options: { channel: n % 2 ? "x" : "y" }, payload });
    }
    expect((await client.close()).code).toBe(1012);
  });
});

describe("a link that reconnects to a channel object", () => {
  it("causes an error of that channel only, if the channel refuses the client", async () => {
    const objects: TestSocket[] = [];
    const client = multiplexed(async () => {
      if (objects.length > 0) return refuse("unauthorized", "The token has expired.");
      const { 0: here, 1: there } = new WebSocketPair();
      objects.push(new TestSocket(there));
      there.accept();
      return { ok: true, value: here };
    });
    client.send(wish);
    const object = await vi.waitUntil(() => objects[0]);
    object.send(joined);
    await client.frame();
    object.socket.close(1011);
    expect(await client.frame()).toMatchObject({ action: "error", payload: { code: "unauthorized" } });
    client.send("ping");
    expect(await client.text()).toBe("pong");
    client.send({ action: "message", options: { channel: "x" }, payload: 1 });
    expect((await client.frame()).payload).toMatchObject({ code: "not-joined" });
  });

  it("is given up, if opening it hangs each time; a socket that opens too late is closed", async () => {
    const late: ((socket: WebSocket) => void)[] = [];
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const client = multiplexed(() => new Promise((resolve) => late.push((value) => resolve({ ok: true, value }))));
    client.send(wish);
    const answer = client.frame();
    for (let second = 0; second < 70; second++) await vi.advanceTimersByTimeAsync(1_000);
    expect(await answer).toMatchObject({ action: "error", payload: { code: "unavailable" } });
    expect(late).toHaveLength(5);
    const { 0: here, 1: there } = new WebSocketPair();
    const object = new TestSocket(there);
    there.accept();
    late[4]?.(here);
    expect((await object.close()).code).toBe(1000);
  });

  it("is given up, if each socket breaks before it has answered", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    let opened = 0;
    const client = multiplexed(async () => {
      opened += 1;
      const { 0: here, 1: there } = new WebSocketPair();
      there.accept();
      there.addEventListener("message", () => there.close(1011));
      return { ok: true, value: here };
    });
    client.send(wish);
    const answer = client.frame();
    for (let second = 0; second < 20; second++) await vi.advanceTimersByTimeAsync(1_000);
    expect(await answer).toMatchObject({ action: "error", payload: { code: "unavailable" } });
    expect(opened).toBe(5);
  });

  it("passes nothing on from a socket that the link has replaced", async () => {
    const { client, first } = await joinedConnection();
    client.send(leave);
    await first.frame();
    first.send(leave);
    expect(await client.frame()).toMatchObject(leave);
    first.send({ action: "event", options: { channel: "x", seq: 6 }, payload: "too late" });
    client.send("ping");
    expect(await client.text()).toBe("pong");
  });
});
