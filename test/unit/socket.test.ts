import { describe, expect, it, vi } from "vitest";
import { MAX_UNCONFIRMED_CHARACTERS } from "../../src/channel/backpressure.ts";
import { MAX_BODY_BYTES, MAX_JSON_DEPTH, MAX_REPLAY_MESSAGES } from "../../src/protocol/limits.ts";
import { historyPath } from "../../src/protocol/paths.ts";
import {
  API_KEY,
  call,
  connect,
  history,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  publish,
  request,
  publishMany,
  stubOf,
  tokenOf,
} from "./support.ts";

describe("joining", () => {
  it("is answered with the channel's last seq, who the client is, and what was granted (JOI2)", async () => {
    const channel = await newOpenChannel();
    await publish(channel, "one");
    const socket = await connect(channel);
    socket.send({ action: "join", options: { channel }, payload: { history: false, presence: false } });
    expect(await socket.frame()).toEqual({
      action: "join",
      client: { socketId: expect.any(String), permissions: { dbo_id: 0, row_id: 0 }, extras: {} },
      options: { channel, seq: 1 },
      payload: { history: false, presence: false },
    });
  });

  it("needs no channel name, and frames have only the fields that apply (CON2)", async () => {
    const channel = await newOpenChannel();
    const socket = await connect(channel);
    const fields = async () => Object.keys(await socket.frame()).toSorted();
    socket.send({ action: "join" });
    expect(await fields()).toEqual(["action", "client", "options", "payload"]);
    await publish(channel, "from the backend");
    expect(await fields()).toEqual(["action", "options", "payload"]);
    socket.send({ action: "leave" });
    expect(await fields()).toEqual(["action", "options", "payload"]);
  });

  it("returns the latest messages in one history frame, the oldest first, if requested (JOI4, FRA3)", async () => {
    const channel = await newOpenChannel({ message_history: 25 });
    for (let n = 1; n <= 30; n++) await publish(channel, n);
    const socket = await join(channel, {}, { history: true });
    const frame = await socket.frame();
    expect(frame).toMatchObject({ action: "history", options: { channel, seq: 30 } });
    expect(frame.payload).toEqual((await history(channel, "?limit=25")).messages);
    expect(frame.payload).toHaveLength(25);
  });

  it("grants no history if the channel shows none (JOI2)", async () => {
    const channel = await newOpenChannel({ message_history: 0 });
    await publish(channel, "secret");
    const socket = await connect(channel);
    socket.send({ action: "join", payload: { history: true } });
    expect((await socket.frame()).payload).toEqual({ history: false, presence: false });
    socket.send({ action: "history" });
    expect((await socket.frame()).payload).toMatchObject({ code: "forbidden" });
  });

  it("is followed by every message after its seq, and by none before it (JOI1, JOI3)", async () => {
    const channel = await newOpenChannel();
    await publish(channel, "before");
    const socket = await join(channel);
    await publish(channel, "after");
    expect(await socket.frame()).toMatchObject({ options: { seq: 2 }, payload: "after" });
  });
});

describe("resuming", () => {
  it("replays exactly the missed messages, in order, before new ones (RES1, RES3)", async () => {
    const channel = await newOpenChannel();
    for (let n = 1; n <= 5; n++) await publish(channel, n);
    const socket = await connect(channel);
    socket.send({ action: "join", options: { after: 2 }, payload: { history: true } });
    await publish(channel, 6);
    const [joined, ...replayed] = await socket.frames(5);
    expect(joined?.options).toMatchObject({ resumed: true });
    expect(replayed).toEqual((await history(channel, "?after=2")).messages);
  });

  it("says so if nothing was missed", async () => {
    const channel = await newOpenChannel({ message_history: 0 });
    await publish(channel, 1);
    const socket = await connect(channel);
    socket.send({ action: "join", options: { after: 1 } });
    expect((await socket.frame()).options).toEqual({ channel, seq: 1, resumed: true, replayed: 0 });
  });

  it.each<[string, number, string, { count?: number; settings?: object }]>([
    ["lies in the future", 7, "ahead", {}],
    ["is further back than is replayed in one go", 0, "too-far-behind", { count: MAX_REPLAY_MESSAGES + 1 }],
    ["lies in a channel that shows its clients no history", 0, "no-history", { settings: { message_history: 0 } }],
  ])(
    "says plainly that it cannot where the position %s (RES2)",
    async (_, after, reason, { count = 3, settings = {} }) => {
      const channel = await newOpenChannel(settings);
      await publishMany(
        channel,
        Array.from({ length: count }, () => "1"),
      );
      const socket = await connect(channel);
      socket.send({ action: "join", options: { after } });
      const next = historyPath(channel, `after=${after}`);
      expect((await socket.frame()).options).toEqual({
        channel,
        seq: count,
        resumed: false,
        reason,
        ...(reason === "too-far-behind" && { next }),
      });
      await publish(channel, "new");
      expect(await socket.frame()).toMatchObject({ options: { seq: count + 1 }, payload: "new" });
    },
  );

  it("tells the client to page through history if too much text was missed to replay (RES2)", async () => {
    const channel = await newOpenChannel();
    const text = JSON.stringify("x".repeat(60_000));
    await publishMany(
      channel,
      Array.from({ length: 80 }, () => text),
    );
    const socket = await connect(channel);
    socket.send({ action: "join", options: { after: 0 } });
    expect((await socket.frame()).options).toMatchObject({ seq: 80, resumed: false, reason: "too-far-behind" });
  });

  it("is limited for all clients together, each time that too many resume at once (LIM11)", async () => {
    const channel = await newOpenChannel();
    await publishMany(
      channel,
      Array.from({ length: 60 }, () => JSON.stringify("x".repeat(65_000))),
    );
    const joinWith = async (frame: object) => {
      const socket = await connect(channel);
      socket.send({ action: "join", ...frame });
      return socket;
    };
    const resume = async () => (await (await joinWith({ options: { after: 0 } })).frame()).options;
    const began = Date.now();
    for (const later of [0, 60_000]) {
      vi.spyOn(Date, "now").mockReturnValue(began + later);
      // Nine times 3.9 MiB are more than 32 MiB.
      for (let n = 1; n <= 9; n++) expect(await resume()).toMatchObject({ resumed: true, replayed: 60 });
      expect(await resume()).toMatchObject({ resumed: false, reason: "too-far-behind", next: expect.any(String) });
      const [, frame] = await (await joinWith({ payload: { history: true } })).frames(2);
      expect(frame?.payload).toHaveLength(2);
      vi.restoreAllMocks();
    }
    vi.spyOn(Date, "now").mockReturnValue(began + 120_000);
    const [, frame] = await (await joinWith({ payload: { history: true } })).frames(2);
    expect(frame?.payload).toHaveLength(60);
    vi.restoreAllMocks();
  });
});

describe("a client's message", () => {
  it("reaches every subscriber, including its sender, and names the sender (FRA1, FRA2)", async () => {
    const channel = await newOpenChannel();
    const sender = await connect(channel);
    sender.send({ action: "join" });
    const { client } = await sender.frame();
    const other = await join(channel);
    sender.send({ action: "message", options: { channel }, payload: { text: "hi" } });
    const echo = await sender.frame();
    expect(echo).toMatchObject({ action: "message", client, options: { channel, seq: 1 }, payload: { text: "hi" } });
    expect(await other.frame()).toEqual(echo);
    expect((await history(channel)).messages).toEqual([echo]);
  });

  it("takes effect in the order of sending, also right after a join", async () => {
    const channel = await newOpenChannel();
    const socket = await connect(channel);
    socket.send({ action: "join" });
    for (const n of [1, 2, 3]) socket.send({ action: "message", payload: n });
    expect((await socket.frames(4)).map(({ action, payload }) => (action === "join" ? action : payload))).toEqual([
      "join",
      1,
      2,
      3,
    ]);
  });
});

describe("a frame that is wrong", () => {
  const deep = "[".repeat(MAX_JSON_DEPTH + 1) + "]".repeat(MAX_JSON_DEPTH + 1);
  it.each<[string, string | ArrayBuffer, object]>([
    ["binary", new Uint8Array([1, 2]).buffer, { code: "not-text" }],
    ["not JSON", "{", { code: "invalid-json" }],
    ["not an object", "[]", { code: "invalid-field" }],
    ["without an action", "{}", { code: "invalid-field", field: "action" }],
    ["of an unknown action", '{"action":"shout"}', { code: "invalid-field", field: "action" }],
    ["of a server's action", '{"action":"history_full"}', { code: "invalid-field", field: "action" }],
    ["for API-key clients only", '{"action":"event","payload":1}', { code: "forbidden", field: "action" }],
    ["with an unknown field", '{"action":"leave","foo":1}', { code: "invalid-field", field: "foo" }],
    ["with an unknown option", '{"action":"message","options":{"foo":"x"},"payload":1}', { field: "options.foo" }],
    ["for another channel", '{"action":"leave","options":{"channel":"elsewhere"}}', { field: "options.channel" }],
    ["with a position below 0", '{"action":"join","options":{"after":-1}}', { field: "options.after", limit: 0 }],
    [
      "with a position that is no whole number",
      '{"action":"join","options":{"after":1.5}}',
      { field: "options.after" },
    ],
    ["with a wish that is no boolean", '{"action":"join","payload":{"history":1}}', { field: "payload.history" }],
    ["a message without payload", '{"action":"message"}', { field: "payload" }],
    ["with a number that does not fit", '{"action":"message","payload":1e999}', { code: "invalid-number" }],
    ["too deep", `{"action":"message","payload":${deep}}`, { code: "too-deep", limit: MAX_JSON_DEPTH }],
    [
      "too large",
      JSON.stringify({ action: "message", payload: "x".repeat(MAX_BODY_BYTES) }),
      { code: "too-large", limit: MAX_BODY_BYTES },
    ],
    [
      "too large in bytes, not in characters",
      JSON.stringify({ action: "message", payload: "日".repeat(22_000) }),
      { code: "too-large" },
    ],
  ])("is answered with an error, and nothing else happens: %s (ERR2, ERR3, LIM1-3)", async (_, frame, expected) => {
    const channel = await newOpenChannel();
    const [sender, witness] = [await join(channel), await join(channel)];
    sender.send(frame);
    const error = await sender.frame();
    expect(error).toMatchObject({ action: "error", options: { channel } });
    expect(error.payload).toMatchObject({ message: expect.any(String), ...expected });
    sender.send({ action: "message", payload: "still here" });
    for (const socket of [sender, witness]) {
      expect(await socket.frame()).toMatchObject({ action: "message", options: { seq: 1 }, payload: "still here" });
    }
  });
});

describe("connecting", () => {
  it("is refused to anonymous clients if the channel has no settings (CHA3, AUT2)", async () => {
    await expect(connect(newChannel())).rejects.toThrow(/^401 .*"\/problems\/unauthorized"/);
  });

  it("is allowed for API-key clients if the channel has no settings (AUT1)", async () => {
    const channel = newChannel();
    const socket = await connect(channel, { Authorization: `Bearer ${API_KEY}` });
    await publish(channel, "early");
    socket.send({ action: "join", payload: { history: true } });
    const [joined, past] = await socket.frames(2);
    expect(joined?.payload).toEqual({ history: true, presence: false });
    expect(past?.payload).toMatchObject([{ payload: "early" }]);
  });

  it("accepts no identity from a header", async () => {
    await expect(connect(newChannel(), { "X-Identity": '{"kind":"server"}' })).rejects.toThrow(/^401/);
  });

  it("needs an upgrade (CON1)", async () => {
    const answer = await request(`/channels/${await newOpenChannel().then(encodeURIComponent)}/socket`);
    expect(answer.status).toBe(426);
    expect(answer.headers.get("Upgrade")).toBe("websocket");
  });

  it("chooses the subprotocol durable-channels.v1 if the client offers it (CON5)", async () => {
    const path = `/channels/${encodeURIComponent(await newOpenChannel())}/socket`;
    const headers = { Upgrade: "websocket", "Sec-WebSocket-Protocol": "durable-channels.v1" };
    const answer = await request(path, { headers });
    expect(answer.headers.get("Sec-WebSocket-Protocol")).toBe("durable-channels.v1");
    answer.webSocket?.accept();
    answer.webSocket?.close();
  });

  it("ends when changed settings no longer admit the client (CON6, AUT3)", async () => {
    const channel = await newOpenChannel();
    const anonymousClient = await join(channel);
    const server = await connect(channel, { Authorization: `Bearer ${API_KEY}` });
    await call("PUT", `/channels/${encodeURIComponent(channel)}`, { anonymous_clients: false });
    expect((await anonymousClient.frame()).payload).toMatchObject({ code: "unauthorized" });
    expect(await anonymousClient.close()).toEqual({ code: 4403, reason: "unauthorized" });
    server.send({ action: "join" });
    expect((await server.frame()).action).toBe("join");
  });
});

it("a subscriber is closed with 1013 after 8 MiB that it alone was sent, without a heartbeat (CON7, EVT1)", async () => {
  const database = await newDatabase();
  const channel = await newOpenChannel({ database });
  const [user, other] = [await join(channel, {}, {}, await tokenOf(database, 1)), await join(channel)];
  const message = { payload: JSON.stringify("x".repeat(60_000)), client: null, database, type: null };
  const messages = Array.from({ length: Math.ceil(MAX_UNCONFIRMED_CHARACTERS / 60_000) + 2 }, () => message);
  const [results = []] = await stubOf(channel).publish([{ who: { kind: "server" }, messages }]);
  expect(results.every(({ ok }) => ok)).toBe(true);
  expect(await user.close()).toEqual({ code: 1013, reason: "slow" });
  other.send({ action: "message", payload: "still here" });
  expect((await other.frame()).payload).toBe("still here");
});
