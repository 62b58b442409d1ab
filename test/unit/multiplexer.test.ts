import { evictDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { FRAMES_AT_ONCE, FRAMES_PER_SECOND, MAX_CHANNELS_PER_SOCKET } from "../../src/protocol/limits.ts";
import type { Frame } from "../support/frames.ts";
import { connection } from "./multiplexer-support.ts";
import { call, newDatabase, newOpenChannel, publish, request, stubOf, TestSocket, tokenOf } from "./support.ts";

afterEach(() => vi.useRealTimers());

async function connect(headers: Record<string, string> = {}): Promise<TestSocket> {
  const address = crypto.randomUUID();
  const all = { Upgrade: "websocket", "CF-Connecting-IP": address, ...headers };
  const answer = await request("/rt/1lK90n16tnnylJpJ0Xa7Km6_KxA", { headers: all });
  if (!answer.webSocket) throw new Error(`${answer.status} ${await answer.text()}`);
  const socket = new TestSocket(answer.webSocket);
  answer.webSocket.accept();
  return socket;
}

async function join(socket: TestSocket, channel: string, payload: object = {}): Promise<Frame> {
  socket.send({ action: "join", options: { channel }, payload });
  const answer = await socket.frame();
  expect(answer).toMatchObject({ action: "join", options: { channel } });
  return answer;
}

describe("one connection for many channels (MUX1)", () => {
  it("carries each channel's frames, under one socketId", async () => {
    const [one, two] = [await newOpenChannel(), await newOpenChannel()];
    const socket = await connect();
    const ids = [await join(socket, one), await join(socket, two)].map(({ client }) => client?.socketId);
    expect(ids[0]).toBe(ids[1]);
    await publish(one, "to one");
    expect(await socket.frame()).toMatchObject({ options: { channel: one, seq: 1 }, payload: "to one" });
    socket.send({ action: "message", options: { channel: two }, payload: "to two" });
    expect(await socket.frame()).toMatchObject({
      action: "message",
      options: { channel: two, seq: 1 },
      payload: "to two",
    });
    expect(
      (await (await call("GET", `/channels/${encodeURIComponent(one)}/presence`)).json<{ total: number }>()).total,
    ).toBe(1);
  });

  it("carries a sender's own messages to it, once each, where it receives no others (FRA2)", async () => {
    const channel = await newOpenChannel({ database: await newDatabase(), auth_channel: true });
    const socket = await connect();
    const { client } = await join(socket, channel);
    await publish(channel, "for users only");
    for (const payload of ["one", "two"]) socket.send({ action: "message", options: { channel }, payload });
    socket.send({ action: "leave", options: { channel } });
    const frames = await socket.frames(3);
    expect(frames).toMatchObject([
      { action: "message", client, options: { channel, seq: 2 }, payload: "one" },
      { action: "message", client, options: { channel, seq: 3 }, payload: "two" },
      { action: "leave" },
    ]);
  });

  it("takes effect in the order of sending, also while the way to a channel is being opened", async () => {
    const channel = await newOpenChannel();
    const socket = await connect();
    socket.send({ action: "join", options: { channel } });
    for (const n of [1, 2, 3]) socket.send({ action: "message", options: { channel }, payload: n });
    expect(
      (await socket.frames(4)).map(({ action, payload }) => (action === "join" ? action : (payload as unknown))),
    ).toEqual(["join", 1, 2, 3]);
  });

  it("counts the frames for all of its channels together, in each second, and no heartbeats (LIM6, LIM10)", async () => {
    const channels = [await newOpenChannel(), await newOpenChannel()];
    let now = Date.now();
    const clock = vi.spyOn(Date, "now").mockImplementation(() => now);
    const socket = await connect();
    for (const channel of channels) await join(socket, channel);
    /** Sends leaves on a third channel, so that each one that is taken is refused, as it was not joined. */
    const refusalsOf = async (count: number, answers: number) => {
      for (let n = 0; n < count; n++) socket.send({ action: "leave", options: { channel: `not/joined/${n % 2}` } });
      return (await socket.frames(answers)).map(({ payload }) => String(payload.code));
    };
    const notJoined = (count: number) => Array.from({ length: count }, () => "not-joined");
    // The two joins were the first frames. Of the refusals, one is answered in each second.
    const first = FRAMES_AT_ONCE - 2;
    expect(await refusalsOf(first + 3, first + 1)).toEqual([...notJoined(first), "rate-limited"]);
    for (let second = 1; second <= 2; second++) {
      now += 1_000;
      expect(await refusalsOf(FRAMES_PER_SECOND + 2, FRAMES_PER_SECOND + 1)).toEqual([
        ...notJoined(FRAMES_PER_SECOND),
        "rate-limited",
      ]);
    }
    for (let beat = 0; beat < FRAMES_AT_ONCE; beat++) socket.send("ping");
    for (let beat = 0; beat < FRAMES_AT_ONCE; beat++) expect(await socket.text()).toBe("pong");
    clock.mockRestore();
  });

  it("ends with a leave for that channel, and with the connection for all", async () => {
    const [one, two] = [await newOpenChannel(), await newOpenChannel()];
    const socket = await connect();
    await join(socket, one);
    await join(socket, two);
    socket.send({ action: "leave", options: { channel: one } });
    expect(await socket.frame()).toMatchObject({ action: "leave", options: { channel: one } });
    const total = async (channel: string) =>
      (await (await call("GET", `/channels/${encodeURIComponent(channel)}/presence`)).json<{ total: number }>()).total;
    expect([await total(one), await total(two)]).toEqual([0, 1]);
    await publish(one, "nobody listens");
    await publish(two, "still here");
    expect((await socket.frame()).payload).toBe("still here");
    socket.socket.close(1000);
    await vi.waitUntil(async () => (await total(two)) === 0);
    await join(await connect(), one);
    expect(await total(one)).toBe(1);
  });

  it("can leave a channel and join it again in one breath", async () => {
    const channel = await newOpenChannel();
    const socket = await connect();
    await join(socket, channel);
    for (const action of ["leave", "join"]) socket.send({ action, options: { channel } });
    expect((await socket.frames(2)).map(({ action }) => action)).toEqual(["leave", "join"]);
    await publish(channel, "back again");
    expect((await socket.frame()).payload).toBe("back again");
  });

  it("answers heartbeats", async () => {
    const socket = await connect();
    socket.send("ping");
    expect(await socket.text()).toBe("pong");
  });

  it.each<[string, string | ArrayBuffer, object]>([
    ["binary", new Uint8Array([1]).buffer, { payload: { code: "not-text" } }],
    ["not JSON", "{", { payload: { code: "invalid-json" } }],
    ["without a channel", '{"action":"join"}', { payload: { code: "invalid-field", field: "options.channel" } }],
    [
      "for a bad channel",
      '{"action":"join","options":{"channel":"a b"}}',
      { options: { channel: "a b" }, payload: { field: "options.channel" } },
    ],
    [
      "for a channel not joined",
      '{"action":"message","options":{"channel":"x"},"payload":1}',
      { options: { channel: "x" }, payload: { code: "not-joined" } },
    ],
    [
      "for a channel that is closed",
      '{"action":"join","options":{"channel":"closed"}}',
      { options: { channel: "closed" }, payload: { code: "unauthorized" } },
    ],
  ])(
    "answers a frame that is wrong with an error that names the channel, and goes on: %s (MUX2)",
    async (_, frame, expected) => {
      const socket = await connect();
      const good = await newOpenChannel();
      await join(socket, good);
      socket.send(frame);
      expect(await socket.frame()).toMatchObject({ action: "error", ...expected });
      await publish(good, "undisturbed");
      expect((await socket.frame()).payload).toBe("undisturbed");
    },
  );

  it(`joins at most ${MAX_CHANNELS_PER_SOCKET} channels (LIM10)`, async () => {
    const root = `many${crypto.randomUUID()}`;
    await call("PUT", `/channels/${encodeURIComponent(`${root}/*`)}`, { anonymous_clients: true });
    const socket = await connect();
    for (let n = 0; n < MAX_CHANNELS_PER_SOCKET; n++) {
      // Slower than the limit on frames, which is another's test.
      if (n % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 1_000));
      await join(socket, `${root}/${n}`);
    }
    socket.send({ action: "join", options: { channel: `${root}/more` } });
    const expected = { action: "error", options: { channel: `${root}/more` }, payload: { code: "too-many-channels" } };
    expect(await socket.frame()).toMatchObject(expected);
  });

  it("shows its token to each channel by that channel's database (MUX4)", async () => {
    const [mine, other] = [await newDatabase({ audience: "a" }), await newDatabase({ audience: "b" })];
    const [members, strangers, open] = [
      await newOpenChannel({ database: mine }),
      await newOpenChannel({ database: other }),
      await newOpenChannel(),
    ];
    const token = await tokenOf(mine, 42);
    const socket = await connect({ "Sec-WebSocket-Protocol": token });
    expect((await join(socket, members)).client?.permissions.row_id).toBe(42);
    expect((await join(socket, open)).client?.permissions).toEqual({ dbo_id: 0, row_id: 0 });
    socket.send({ action: "join", options: { channel: strangers } });
    expect(await socket.frame()).toMatchObject({ options: { channel: strangers }, payload: { code: "unauthorized" } });
  });

  it("echoes its token as the chosen subprotocol", async () => {
    const headers = { Upgrade: "websocket", "Sec-WebSocket-Protocol": "some.token" };
    const answer = await request("/rt/x", { headers });
    expect([answer.status, answer.headers.get("Sec-WebSocket-Protocol")]).toEqual([101, "some.token"]);
    answer.webSocket?.accept();
    answer.webSocket?.close();
  });

  it("needs an upgrade, and the right canonical where one is set", async () => {
    expect((await request("/rt/x")).status).toBe(426);
    const upgrade = (canonical: string) =>
      app.fetch(new Request(`https://channels.test/rt/${canonical}`, { headers: { Upgrade: "websocket" } }), {
        ...env,
        REALTIME_CANONICAL: "ours",
      });
    expect((await upgrade("theirs")).status).toBe(404);
    const answer = await upgrade("ours");
    expect(answer.status).toBe(101);
    answer.webSocket?.accept();
    answer.webSocket?.close();
  });
});

describe("a channel's object that is reset (MUX3)", () => {
  it("is joined again, and the client misses nothing and sees nothing twice, without knowing", async () => {
    const channel = await newOpenChannel();
    const socket = await connect();
    await join(socket, channel, { history: true });
    expect((await socket.frame()).action).toBe("history");
    for (let round = 1; round <= 5; round++) {
      await publish(channel, `before ${round}`);
      await evictDurableObject(stubOf(channel), { webSockets: "close" });
      await publish(channel, `after ${round}`);
    }
    const seen = await socket.frames(10);
    expect(seen.map(({ action }) => action)).toEqual(Array.from({ length: 10 }, () => "event"));
    expect(seen.map(({ options }) => options.seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    socket.send({ action: "message", options: { channel }, payload: "still the same connection" });
    expect((await socket.frame()).payload).toBe("still the same connection");
  });

  it("keeps what the client says meanwhile, in order", async () => {
    const channel = await newOpenChannel();
    const socket = await connect();
    await join(socket, channel);
    await evictDurableObject(stubOf(channel), { webSockets: "close" });
    await vi.waitUntil(async () => {
      const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/presence`);
      return (await answer.json<{ total: number }>()).total === 1;
    });
    for (const n of [1, 2, 3]) socket.send({ action: "message", options: { channel }, payload: n });
    expect((await socket.frames(3)).map(({ payload }) => payload as unknown)).toEqual([1, 2, 3]);
  });

  it("is left, with an error, if it no longer accepts the client's token; other channels stay joined", async () => {
    const config = { dbo_id: 4_201, secret: "AUTH_SECRET" };
    const database = await newDatabase(config);
    const [channel, other] = [await newOpenChannel({ database }), await newOpenChannel()];
    const socket = await connect({ "Sec-WebSocket-Protocol": await tokenOf(database, 42) });
    await join(socket, channel);
    await join(socket, other);
    const changed = await call("PUT", `/databases/${database}`, { ...config, issuer: "https://new.test" });
    expect(changed.ok).toBe(true);
    await evictDurableObject(stubOf(channel), { webSockets: "close" });
    expect(await socket.frame()).toMatchObject({
      action: "error",
      options: { channel },
      payload: { code: "unauthorized" },
    });
    socket.send({ action: "message", options: { channel }, payload: 1 });
    expect(await socket.frame()).toMatchObject({ options: { channel }, payload: { code: "not-joined" } });
    await publish(other, "still joined");
    expect(await socket.frame()).toMatchObject({ options: { channel: other }, payload: "still joined" });
  });
});

describe("the way to a channel", () => {
  const wish = { action: "join", options: { channel: "x" }, payload: { history: true, presence: true } };
  const joined = { action: "join", options: { channel: "x", seq: 5 } };

  it("is joined again behind the last seq, with the same wishes but for history (MUX3)", async () => {
    const { client, object } = connection();
    client.send(wish);
    const first = await object(1);
    expect(await first.frame()).toEqual(wish);
    first.send(joined);
    first.send({ action: "event", options: { channel: "x", seq: 6 }, payload: 1 });
    await client.frames(2);
    first.socket.close(1011);
    const second = await object(2);
    expect(await second.frame()).toEqual({
      action: "join",
      options: { after: 6 },
      payload: { history: false, presence: true },
    });
    client.send({ action: "message", options: { channel: "x" }, payload: "meanwhile" });
    second.send({ action: "join", options: { channel: "x", seq: 7, resumed: true } });
    second.send({ action: "event", options: { channel: "x", seq: 7 }, payload: "missed" });
    expect(await client.frame()).toMatchObject({ action: "event", payload: "missed" });
    expect((await second.frame()).payload).toBe("meanwhile");
  });

  it("that comes back with a gap is lost: the client is closed with 1012, and starts anew (MUX3)", async () => {
    const { client, object } = connection();
    client.send(wish);
    (await object(1)).send(joined);
    await client.frame();
    (await object(1)).socket.close(1011);
    (await object(2)).send({ action: "join", options: { channel: "x", seq: 5_000, resumed: false } });
    expect((await client.close()).code).toBe(1012);
  });

  it("that cannot be found again after some attempts is lost, too (MUX3)", async () => {
    const { client, object, state } = connection();
    client.send(wish);
    (await object(1)).send(joined);
    await client.frame();
    state.reachable = false;
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    (await object(1)).socket.close(1011);
    const closed = client.close();
    for (let second = 0; second < 10; second++) await vi.advanceTimersByTimeAsync(1_000);
    expect((await closed).code).toBe(1012);
  });

  it("that was never there is an error of that channel alone", async () => {
    const { client, state } = connection();
    state.reachable = false;
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    client.send(wish);
    const answer = client.frame();
    for (let second = 0; second < 10; second++) await vi.advanceTimersByTimeAsync(1_000);
    expect(await answer).toMatchObject({
      action: "error",
      options: { channel: "x" },
      payload: { code: "unavailable" },
    });
    client.send("ping");
    expect(await client.text()).toBe("pong");
  });

  it.each([4401, 4403])("that the channel ends for good is ended, and only that: %i (AUT7, CON6)", async (code) => {
    const { client, object } = connection();
    client.send(wish);
    (await object(1)).send(joined);
    await client.frame();
    (await object(1)).socket.close(code);
    await (await object(1)).close();
    client.send({ action: "message", options: { channel: "x" }, payload: 1 });
    expect((await client.frame()).payload).toMatchObject({ code: "not-joined" });
  });

  it("is closed with the client's connection", async () => {
    const { client, object } = connection();
    client.send(wish);
    (await object(1)).send(joined);
    await client.frame();
    client.socket.close(4000);
    expect((await (await object(1)).close()).code).toBe(1000);
  });
});
