import { evictDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  FLOODS_AT_ONCE,
  FRAMES_AT_ONCE,
  FRAMES_PER_SECOND,
  HISTORIES_AT_ONCE,
  REFUSED_FRAMES_AT_ONCE,
  REFUSED_FRAMES_PER_SECOND,
} from "../../src/protocol/limits.ts";
import {
  API_KEY,
  call,
  connect,
  connectToMany,
  history,
  join,
  newOpenChannel,
  publish,
  request,
  stopClock,
  stubOf,
  type TestSocket,
} from "./support.ts";

afterEach(() => vi.restoreAllMocks());

function sendTimes(socket: TestSocket, count: number, frame: object | string | ArrayBuffer): void {
  for (let n = 0; n < count; n++) socket.send(frame);
}

const codesOf = ({ texts }: TestSocket) =>
  texts.map((text) => (JSON.parse(text) as { payload: { code?: string } | null }).payload?.code);

const FLOOD = { code: 1008, reason: "too many frames" };

describe("a flood of frames (LIM6)", () => {
  const doors: [string, () => Promise<TestSocket>][] = [
    ["over a channel's socket", async () => connect(await newOpenChannel())],
    ["over /rt/", () => connectToMany()],
  ];

  describe.each(doors)("%s", (_, open) => {
    it("gets one answer per second, and ends with 1008", async () => {
      stopClock();
      const socket = await open();
      sendTimes(socket, FRAMES_AT_ONCE + REFUSED_FRAMES_AT_ONCE + 1, "x");
      expect(await socket.close()).toEqual(FLOOD);
      expect(codesOf(socket)).toEqual([...Array<string>(FRAMES_AT_ONCE).fill("invalid-json"), "rate-limited"]);
    });

    it("is answered again in the next second, with the seconds to wait", async () => {
      const pass = stopClock();
      const socket = await open();
      sendTimes(socket, FRAMES_AT_ONCE + 3, "x");
      await socket.frames(FRAMES_AT_ONCE);
      expect((await socket.frame()).payload).toMatchObject({ code: "rate-limited", retryAfter: 1 });
      pass(1_000);
      sendTimes(socket, FRAMES_PER_SECOND + 3, "x");
      await socket.frames(FRAMES_PER_SECOND);
      expect((await socket.frame()).payload).toMatchObject({ code: "rate-limited", retryAfter: 1 });
      expect(socket.pending).toBe(0);
    });

    it("is not what a client sends that is a little too fast, for however long", async () => {
      const pass = stopClock();
      const socket = await open();
      sendTimes(socket, FRAMES_AT_ONCE, "x");
      await socket.frames(FRAMES_AT_ONCE);
      for (let second = 0; second < 15; second++) {
        pass(1_000);
        sendTimes(socket, FRAMES_PER_SECOND + REFUSED_FRAMES_PER_SECOND, "x");
        // As many answers as frames that were taken, and one for those that were not.
        await socket.frames(FRAMES_PER_SECOND + 1);
      }
      expect(socket.closed).toBeUndefined();
    });
  });

  it("counts frames of every kind: binary ones, and those that are too large", async () => {
    stopClock();
    const socket = await connect(await newOpenChannel());
    sendTimes(socket, FRAMES_AT_ONCE, new ArrayBuffer(8));
    sendTimes(socket, REFUSED_FRAMES_AT_ONCE + 1, "x".repeat(70_000));
    expect(await socket.close()).toEqual(FLOOD);
  });

  it("ends also after hibernation, which forgets how many frames there were", async () => {
    stopClock();
    const channel = await newOpenChannel();
    const socket = await connect(channel);
    sendTimes(socket, FRAMES_AT_ONCE, "x");
    await socket.frames(FRAMES_AT_ONCE);
    await evictDurableObject(stubOf(channel));
    sendTimes(socket, FRAMES_AT_ONCE + REFUSED_FRAMES_AT_ONCE + 1, "x");
    expect(await socket.close()).toEqual(FLOOD);
  });

  it("leaves nothing of the frames that follow the close", async () => {
    stopClock();
    const channel = await newOpenChannel({ presence: true });
    const socket = await join(channel);
    sendTimes(socket, FRAMES_AT_ONCE + REFUSED_FRAMES_AT_ONCE, "x");
    sendTimes(socket, 3, { action: "message", payload: "after the flood" });
    sendTimes(socket, 3, { action: "join" });
    expect(await socket.close()).toEqual(FLOOD);
    expect((await history(channel)).messages).toEqual([]);
    const present = await call("GET", `/channels/${encodeURIComponent(channel)}/presence`);
    expect(await present.json()).toEqual({ total: 0, presence: [] });
  });

  it("concerns no other socket, and no API-key client", async () => {
    stopClock();
    const channel = await newOpenChannel();
    const [flooder, witness] = [await connect(channel), await join(channel)];
    const operator = await connect(channel, { Authorization: `Bearer ${API_KEY}` });
    sendTimes(operator, FRAMES_AT_ONCE + REFUSED_FRAMES_AT_ONCE + 1, { action: "leave" });
    await operator.frames(FRAMES_AT_ONCE + REFUSED_FRAMES_AT_ONCE + 1);
    sendTimes(flooder, FRAMES_AT_ONCE + REFUSED_FRAMES_AT_ONCE + 1, "x");
    await flooder.close();
    await publish(channel, "still here");
    expect((await witness.frame()).payload).toBe("still here");
  });

  it("keeps its sender away from the channel for a while if it is repeated, and nobody else", async () => {
    const pass = stopClock();
    const channel = await newOpenChannel();
    const from = { "CF-Connecting-IP": "192.0.2.1" };
    const flood = async () => {
      const socket = await connect(channel, from);
      sendTimes(socket, FRAMES_AT_ONCE + REFUSED_FRAMES_AT_ONCE + 1, "x");
      expect(await socket.close()).toEqual(FLOOD);
    };
    for (let times = 0; times < FLOODS_AT_ONCE; times++) await flood();
    const refused = await request(`/channels/${encodeURIComponent(channel)}/socket`, {
      headers: { Upgrade: "websocket", ...from },
    });
    expect([refused.status, refused.headers.get("Retry-After")]).toEqual([429, "10"]);
    expect(await refused.json()).toMatchObject({ type: "/problems/rate-limited", retryAfter: 10 });
    await join(channel);
    pass(10_000);
    await flood();
  });

  it("of heartbeats over /rt/ ends, too, and takes nothing from the frames", async () => {
    stopClock();
    const socket = await connectToMany();
    sendTimes(socket, FRAMES_AT_ONCE, "ping");
    for (let beat = 0; beat < FRAMES_AT_ONCE; beat++) expect(await socket.text()).toBe("pong");
    socket.send("x");
    expect((await socket.frame()).payload.code).toBe("invalid-json");
    sendTimes(socket, REFUSED_FRAMES_AT_ONCE + 1, "ping");
    expect(await socket.close()).toEqual(FLOOD);
  });
});

describe("a client that asks for history again and again (LIM13)", () => {
  const doors: [string, (channel: string) => Promise<TestSocket>][] = [
    ["over a channel's socket", (channel) => connect(channel)],
    ["over /rt/", () => connectToMany()],
  ];
  const actionsOf = async (socket: TestSocket, count: number) =>
    (await socket.frames(count)).map(({ action, payload }) =>
      action === "error" ? `${payload.code} ${payload.retryAfter}` : action,
    );

  const histories = Array.from({ length: HISTORIES_AT_ONCE }, () => "history");

  it.each(doors)("gets it a few times at once, then once per second %s", async (_, open) => {
    const pass = stopClock();
    const channel = await newOpenChannel();
    const [socket, options] = [await open(channel), { channel }];
    socket.send({ action: "join", options, payload: { history: true } });
    expect(await actionsOf(socket, 2)).toEqual(["join", "history"]);
    sendTimes(socket, HISTORIES_AT_ONCE + 2, { action: "history", options });
    expect(await actionsOf(socket, HISTORIES_AT_ONCE + 2)).toEqual([...histories, "rate-limited 1", "rate-limited 1"]);
    pass(1_000);
    sendTimes(socket, 2, { action: "history", options });
    expect(await actionsOf(socket, 2)).toEqual(["history", "rate-limited 1"]);
  });

  it.each([
    ["history", {}, { history: true }],
    ["presence", {}, { presence: true }],
    ["what it missed", { after: 0 }, {}],
  ])("gets no more by joining again for %s, and stays joined", async (_, options, payload) => {
    stopClock();
    const channel = await newOpenChannel({ presence: true });
    const socket = await join(channel);
    sendTimes(socket, HISTORIES_AT_ONCE, { action: "history" });
    expect(await actionsOf(socket, HISTORIES_AT_ONCE)).toEqual(histories);
    socket.send({ action: "join", options, payload });
    expect((await socket.frame()).payload).toMatchObject({ code: "rate-limited", retryAfter: 1 });
    await publish(channel, "still joined");
    expect((await socket.frame()).payload).toBe("still joined");
  });

  it("is not one that joins anew over another socket, or one that asks for nothing", async () => {
    stopClock();
    const channel = await newOpenChannel();
    for (let times = 0; times <= HISTORIES_AT_ONCE; times++) {
      const socket = await connect(channel, { "CF-Connecting-IP": "192.0.2.9" });
      socket.send({ action: "join", payload: { history: true } });
      expect(await actionsOf(socket, 2)).toEqual(["join", "history"]);
      sendTimes(socket, 3, { action: "join" });
      expect(await actionsOf(socket, 3)).toEqual(["join", "join", "join"]);
    }
  });

  it("may ask as often as it likes with an API key", async () => {
    stopClock();
    const socket = await connect(await newOpenChannel(), { Authorization: `Bearer ${API_KEY}` });
    sendTimes(socket, 2 * HISTORIES_AT_ONCE, { action: "history" });
    expect(await actionsOf(socket, 2 * HISTORIES_AT_ONCE)).toEqual([...histories, ...histories]);
  });
});
