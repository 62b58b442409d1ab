import { evictDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  FRAMES_AT_ONCE,
  MAX_ARRAY_BYTES,
  MAX_ARRAY_FRAMES,
  MAX_BODY_BYTES,
  MAX_FRAME_ID_CHARACTERS,
  MAX_STATE_BYTES,
  MAX_TYPE_CHARACTERS,
} from "../../src/protocol/limits.ts";
import {
  API_KEY,
  call,
  connect,
  connectToMany,
  history,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  publish,
  publishMany,
  stubOf,
  type TestSocket,
  tokenOf,
} from "./support.ts";

afterEach(() => void vi.restoreAllMocks());

const BY_API_KEY = { Authorization: `Bearer ${API_KEY}` };
const message = (id: string, payload: unknown, more: object = {}) => ({
  action: "message",
  options: { id, ...more },
  payload,
});

/** Returns the next frames without what differs between test runs. */
async function next(socket: TestSocket, count: number): Promise<object[]> {
  return (await socket.frames(count)).map(({ action, options, payload }) => {
    const { channel: _, time: __, ...rest } = options as Record<string, unknown>;
    return Object.assign({ action }, rest, payload === undefined ? {} : { payload });
  });
}

describe("an id of a frame (FRA6)", () => {
  it("is in the answer to a join, a leave and a history, and in no other frame", async () => {
    const channel = await newOpenChannel({ presence: true });
    await publish(channel, "earlier");
    const socket = await connect(channel);
    socket.send({ action: "join", options: { id: "j" }, payload: { history: true, presence: true } });
    const answer = await socket.frames(3);
    expect(answer.map(({ action, options }) => [action, (options as { id?: string }).id])).toEqual([
      ["join", "j"],
      ["history", undefined],
      ["presence_full", undefined],
    ]);
    socket.send({ action: "history", options: { id: "h" } });
    expect(await next(socket, 1)).toMatchObject([{ action: "history", id: "h" }]);
    socket.send({ action: "leave", options: { id: "l" } });
    expect(await next(socket, 1)).toMatchObject([{ action: "leave", id: "l" }]);
  });

  it("is in the error that answers the frame, also if the frame is malformed", async () => {
    const channel = await newOpenChannel({ public_messaging: { active: false } });
    const socket = await join(channel);
    const wrong = [
      message("a", 1),
      { action: "message", options: { id: "b", unknown: 1 }, payload: 1 },
      { action: "shout", options: { id: "c" } },
      { action: "event", options: { id: "d" }, payload: 1 },
    ];
    for (const frame of wrong) {
      socket.send(frame);
      expect(await next(socket, 1)).toMatchObject([{ action: "error", id: frame.options.id }]);
    }
  });

  it.each<[string, unknown]>([
    ["empty", ""],
    ["too long", "x".repeat(MAX_FRAME_ID_CHARACTERS + 1)],
    ["with a space", "a b"],
    ["not ASCII", "é"],
    ["a number", 1],
  ])("that is %s is refused, and nothing is stored", async (_, id) => {
    const channel = await newOpenChannel();
    const socket = await join(channel);
    socket.send({ action: "message", options: { id }, payload: 1 });
    const { action, payload } = await socket.frame();
    expect([action, payload.field]).toEqual(["error", "options.id"]);
    expect((await history(channel)).seq).toBe(0);
  });

  it("of 64 characters is accepted", async () => {
    const socket = await join(await newOpenChannel());
    const id = "~".repeat(MAX_FRAME_ID_CHARACTERS);
    socket.send(message(id, 1));
    expect(await next(socket, 2)).toMatchObject([
      { id, seq: 1 },
      { action: "ack", id, seq: 1 },
    ]);
  });
});

describe("a message with an id (FRA6, IDM6)", () => {
  it("is acknowledged with its position, to its sender only, and the sender's own frame has the id", async () => {
    const channel = await newOpenChannel();
    const [sender, other] = [await join(channel), await join(channel)];
    for (const seq of [1, 2]) {
      sender.send(message(`id-${seq}`, seq));
      expect(await next(sender, 2)).toEqual([
        { action: "message", seq, id: `id-${seq}`, payload: seq },
        { action: "ack", seq, id: `id-${seq}` },
      ]);
      expect(await next(other, 1)).toEqual([{ action: "message", seq, payload: seq }]);
    }
    expect(other.pending).toBe(0);
  });

  it("is stored once however often it is sent, over several connections, and each time gets the same ack", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const token = await tokenOf(database, 1);
    const reader = await join(channel);
    const acks: object[] = [];
    for (const attempt of [1, 2, 3]) {
      const sender = await connect(channel, { "Sec-WebSocket-Protocol": token });
      sender.send(message("once", { text: "hello" }));
      sender.send(message("twice", { text: "hello" }));
      acks.push(await next(sender, 2));
      if (attempt === 2) await evictDurableObject(stubOf(channel));
    }
    expect(acks).toEqual([acks[0], acks[0], acks[0]]);
    expect(await next(reader, 2)).toMatchObject([{ seq: 1 }, { seq: 2 }]);
    expect((await history(channel)).seq).toBe(2);
  });

  it.each<[string, object, object]>([
    ["payload", message("k", 1), message("k", 2)],
    ["type", message("k", 1, { type: "a" }), message("k", 1, { type: "b" })],
    ["type, which only one of them has", message("k", 1), message("k", 1, { type: "b" })],
  ])("is refused if it is sent again with another %s", async (_, first, second) => {
    const channel = await newOpenChannel();
    const socket = await connect(channel);
    for (const frame of [first, second, second, first]) socket.send(frame);
    expect(await next(socket, 4)).toMatchObject([
      { action: "ack", seq: 1 },
      { action: "error", id: "k", payload: { code: "key-reused", field: "options.id" } },
      { action: "error", id: "k", payload: { code: "key-reused", field: "options.id" } },
      { action: "ack", seq: 1 },
    ]);
  });

  it("is the same message as one that the same caller publishes with this Idempotency-Key", async () => {
    const channel = newChannel();
    const socket = await connect(channel, BY_API_KEY);
    socket.send({ action: "event", options: { id: "same" }, payload: "once" });
    expect(await next(socket, 1)).toEqual([{ action: "ack", id: "same", seq: 1 }]);
    const post = async () => {
      const headers = { ...BY_API_KEY, "Content-Type": "application/json", "Idempotency-Key": "same" };
      const body = JSON.stringify({ channel, message: "once" });
      const { exports } = await import("cloudflare:workers");
      return exports.default.fetch(new Request("https://channels.test/message", { method: "POST", headers, body }));
    };
    expect(await (await post()).json()).toMatchObject({ seq: 1 });
    expect((await history(channel)).seq).toBe(1);
  });

  it("is stored once if one array has it twice, and another message with its id is refused", async () => {
    const channel = newChannel();
    const socket = await connect(channel, BY_API_KEY);
    const event = (id: string, payload: unknown) => ({ action: "event", options: { id }, payload });
    for (const _ of [1, 2]) {
      socket.send([event("a", 1), event("b", 2), event("a", 1), event("b", 3), event("c", 4)]);
      expect(await next(socket, 5)).toMatchObject([
        { action: "ack", id: "a", seq: 1 },
        { action: "ack", id: "b", seq: 2 },
        { action: "ack", id: "a", seq: 1 },
        { action: "error", id: "b", payload: { code: "key-reused", field: "options.id" } },
        { action: "ack", id: "c", seq: 3 },
      ]);
    }
    expect((await history(channel)).messages.map(({ payload }) => payload)).toEqual([1, 2, 4]);
  });

  it("belongs to its sender: users do not share ids, and a user's other sockets see the id", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const [one, two] = [await tokenOf(database, 1), await tokenOf(database, 2)];
    const [sender, sameUser, otherUser] = [
      await join(channel, {}, {}, one),
      await join(channel, {}, {}, one),
      await join(channel, {}, {}, two),
    ];
    sender.send(message("k", "mine"));
    expect(await next(sender, 2)).toMatchObject([
      { id: "k", seq: 1 },
      { action: "ack", id: "k", seq: 1 },
    ]);
    expect(await next(sameUser, 1)).toMatchObject([{ id: "k", seq: 1 }]);
    expect(await next(otherUser, 1)).toEqual([{ action: "message", seq: 1, payload: "mine" }]);
    otherUser.send(message("k", "mine, too"));
    expect(await next(otherUser, 2)).toMatchObject([
      { id: "k", seq: 2 },
      { action: "ack", id: "k", seq: 2 },
    ]);
    const later = await connect(channel, { "Sec-WebSocket-Protocol": one });
    later.send({ action: "join", options: { after: 0 } });
    expect(await next(later, 3)).toMatchObject([{ action: "join" }, { seq: 1, id: "k" }, { seq: 2 }]);
    later.send({ action: "history" });
    const [, second] = (await later.frame()).payload as { options: object }[];
    expect(second?.options).not.toHaveProperty("id");
  });

  it("is seen by all API-key clients and by nobody else, also in batch frames", async () => {
    const channel = await newOpenChannel();
    const [server, anonymous] = [
      await connect(channel, BY_API_KEY, "?frames=batch"),
      await connect(channel, {}, "?frames=batch"),
    ];
    for (const socket of [server, anonymous]) {
      socket.send({ action: "join" });
      await socket.text();
    }
    server.send({ action: "event", options: { id: "k", type: "t" }, payload: 1 });
    const framesOf = async (socket: TestSocket, count: number) => {
      const frames: { action: string; options: object }[] = [];
      while (frames.length < count) frames.push(...(JSON.parse(await socket.text()) as typeof frames));
      return frames.toSorted((a, b) => (a.action < b.action ? -1 : 1));
    };
    expect(await framesOf(server, 2)).toMatchObject([
      { action: "ack", options: { id: "k", seq: 1 } },
      { action: "event", options: { id: "k", seq: 1, type: "t" } },
    ]);
    const [seen] = await framesOf(anonymous, 1);
    expect(seen?.options).toEqual({ channel, seq: 1, time: expect.any(String), type: "t" });
  });

  it("is answered even if the client sends too many frames (LIM6)", async () => {
    const now = Date.now();
    vi.spyOn(Date, "now").mockReturnValue(now);
    const socket = await connect(await newOpenChannel());
    const count = FRAMES_AT_ONCE + 5;
    for (let n = 0; n < count; n++) socket.send(message(`id-${n}`, n));
    const answers = await socket.frames(count);
    const ids = answers.map(({ options }) => (options as { id?: string }).id);
    expect(ids).toEqual(Array.from({ length: count }, (_, n) => `id-${n}`));
    expect(answers.slice(FRAMES_AT_ONCE).map(({ payload }) => payload.code)).toEqual(Array(5).fill("rate-limited"));
  });
});

describe("the type of a message (FRA7)", () => {
  it("is delivered, replayed, in history and in the archive, and filters history (HIS11)", async () => {
    const channel = await newOpenChannel();
    const reader = await join(channel);
    for (const type of ["order.created", undefined, "order.paid"]) {
      expect((await call("POST", "/message", { channel, message: 1, type })).status).toBe(201);
    }
    expect(await next(reader, 3)).toMatchObject([{ type: "order.created" }, { seq: 2 }, { type: "order.paid" }]);
    const types = async (query = "") =>
      (await history(channel, query)).messages.map(({ options }) => (options as { type?: string }).type);
    const all = ["order.created", undefined, "order.paid"];
    expect(await types()).toEqual(all);
    expect(await types("?type=order.paid")).toEqual(["order.paid"]);
    expect(await types("?type=order.paid&after=0&limit=1")).toEqual(["order.paid"]);
    expect(await types("?type=order.refunded")).toEqual([]);
    const resumed = await connect(channel);
    resumed.send({ action: "join", options: { after: 0 } });
    expect(await next(resumed, 4)).toMatchObject([{ action: "join" }, ...all.map((type) => (type ? { type } : {}))]);
  });

  it.each([
    ["empty", ""],
    ["too long", "x".repeat(MAX_TYPE_CHARACTERS + 1)],
    ["with a space", "a b"],
    ["a quote", '"'],
  ])("that is %s is refused over HTTP and over a socket", async (_, type) => {
    const channel = await newOpenChannel();
    const answer = await call("POST", "/message", { channel, message: 1, type });
    expect([answer.status, await answer.json()]).toMatchObject([400, { field: "type" }]);
    const socket = await join(channel);
    socket.send(message("k", 1, { type }));
    expect(await next(socket, 1)).toMatchObject([{ id: "k", payload: { field: "options.type" } }]);
    expect((await history(channel)).seq).toBe(0);
  });
});

describe("an ephemeral message (FRA8)", () => {
  it("reaches the subscribers, is not stored or numbered, and its ack has no seq", async () => {
    const channel = await newOpenChannel();
    const [sender, other] = [await join(channel), await join(channel)];
    for (const round of [1, 2]) {
      sender.send(message("typing", round, { ephemeral: true, type: "typing" }));
      const seen = { action: "message", ephemeral: true, type: "typing", payload: round };
      expect(await next(sender, 2)).toEqual([seen, { action: "ack", id: "typing" }]);
      expect(await next(other, 1)).toEqual([seen]);
    }
    const answer = await call("POST", "/message", { channel, message: 3, ephemeral: true });
    expect([answer.status, await answer.json()]).toEqual([200, { channel }]);
    expect(await next(other, 1)).toEqual([{ action: "event", ephemeral: true, payload: 3 }]);
    expect(await history(channel)).toMatchObject({ seq: 0, messages: [] });
    await publish(channel, "stored");
    expect(await next(other, 1)).toMatchObject([{ seq: 1 }]);
  });

  it("needs the same permission as a stored one", async () => {
    const channel = await newOpenChannel({ public_messaging: { active: false } });
    const socket = await join(channel);
    socket.send(message("k", 1, { ephemeral: true }));
    expect(await next(socket, 1)).toMatchObject([{ id: "k", payload: { code: "forbidden" } }]);
    const answer = await call("POST", "/message", { channel, message: 1, ephemeral: true }, null);
    expect(answer.status).toBe(403);
  });
});

describe("a client that requests all history twice", () => {
  it("is not closed as slow: the second frame is short, because the first is not confirmed (FRA3, CON7)", async () => {
    const channel = await newOpenChannel({ message_history: 100 });
    const payload = JSON.stringify("x".repeat(60_000));
    await publishMany(
      channel,
      Array.from({ length: 75 }, () => payload),
    );
    const socket = await join(channel, {}, { history: true });
    const sizes = [(await socket.text()).length];
    for (const _ of [1, 2]) {
      socket.send("ping");
      expect(await socket.text()).toBe("pong");
      socket.send({ action: "history" });
      sizes.push((await socket.text()).length);
    }
    expect(sizes.map((size) => size > 1_000_000)).toEqual([true, false, true]);
  });
});

describe("the recipients of a message (FRA5, FRA9)", () => {
  it("are all sockets of a user, if the channel allows private messages", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, presence: true, private_messaging: { active: true } });
    const token = await tokenOf(database, 7);
    const [one, two] = [await join(channel, {}, {}, token), await join(channel, {}, {}, token)];
    const sender = await join(channel);
    const user = one.client.permissions;
    sender.send(message("k", "psst", { user, type: "whisper" }));
    expect(await next(sender, 1)).toEqual([{ action: "ack", id: "k" }]);
    for (const socket of [one, two]) {
      expect(await next(socket, 1)).toEqual([{ action: "message", user, type: "whisper", payload: "psst" }]);
    }
    const answer = await call("POST", "/message", { channel, message: "from the backend", user });
    expect([answer.status, await answer.json()]).toEqual([200, { channel }]);
    for (const socket of [one, two]) {
      expect(await next(socket, 1)).toEqual([{ action: "event", user, payload: "from the backend" }]);
    }
    sender.send(message("k2", 1, { user: { ...user, row_id: 8 } }));
    expect(await next(sender, 1)).toMatchObject([
      { id: "k2", payload: { code: "unknown-recipient", field: "options.user" } },
    ]);
    expect((await history(channel)).seq).toBe(0);
  });

  it("that are a user do not show whether the user is there, unless the sender may see presence", async () => {
    const database = await newDatabase();
    const settings = { database, private_messaging: { active: true } };
    for (const presence of [true, false]) {
      const channel = await newOpenChannel({ ...settings, presence });
      const sender = await join(channel);
      sender.send(message("k", 1, { user: { dbo_id: 1, row_id: 1 } }));
      expect((await sender.frame()).action).toBe(presence ? "error" : "ack");
      const body = { channel, message: 1, user: { dbo_id: 1, row_id: 1 } };
      expect((await call("POST", "/message", body, null)).status).toBe(presence ? 404 : 200);
      expect((await call("POST", "/message", body)).status).toBe(404);
    }
  });

  it("of a private message over HTTP need the same permission", async () => {
    const channel = await newOpenChannel();
    const { client } = await join(channel);
    const body = { channel, message: 1, socketId: client.socketId };
    expect((await call("POST", "/message", body, null)).status).toBe(403);
    expect((await call("POST", "/message", body)).status).toBe(200);
    const nobody = await call("POST", "/message", { ...body, socketId: "nobody" });
    expect([nobody.status, await nobody.json()]).toMatchObject([404, { field: "socketId" }]);
  });

  it.each(["", "?frames=batch"])("are everyone except one socket, live (%s)", async (query) => {
    const channel = await newOpenChannel();
    const sockets = [await connect(channel, {}, query), await connect(channel, {}, query)];
    const ids: string[] = [];
    for (const socket of sockets) {
      socket.send({ action: "join" });
      const joined = [JSON.parse(await socket.text())].flat()[0];
      ids.push(joined.client.socketId);
    }
    for (const n of [1, 2]) {
      await call("POST", "/message", { channel, message: `not for the first ${n}`, except: ids[0] });
      await publish(channel, `for all ${n}`);
    }
    const payloads = async (socket: TestSocket | undefined, count: number) => {
      const found: unknown[] = [];
      while (found.length < count) found.push(...[JSON.parse((await socket?.text()) ?? "")].flat());
      return found.map((frame) => (frame as { payload: unknown }).payload);
    };
    expect(await payloads(sockets[0], 2)).toEqual(["for all 1", "for all 2"]);
    expect(await payloads(sockets[1], 4)).toEqual([
      "not for the first 1",
      "for all 1",
      "not for the first 2",
      "for all 2",
    ]);
    expect((await history(channel)).messages).toHaveLength(4);
  });

  it("may be named in one way only", async () => {
    const channel = await newOpenChannel();
    const answer = await call("POST", "/message", { channel, message: 1, socketId: "a", except: "b" });
    expect([answer.status, await answer.json()]).toMatchObject([
      400,
      { detail: expect.stringContaining("only one of") },
    ]);
  });
});

describe("the state of a member (PRE7)", () => {
  const state = { name: "Carol", typing: true };

  it("is in presence_full, in updates and over HTTP, but not in messages", async () => {
    const channel = await newOpenChannel({ presence: true });
    const watcher = await join(channel, {}, { presence: true });
    await watcher.frame();
    const member = await join(channel);
    expect(await next(watcher, 1)).toMatchObject([{ payload: { action: "join" } }]);
    member.send({ action: "presence", options: { id: "p1" }, payload: state });
    expect(await next(member, 1)).toEqual([{ action: "ack", id: "p1" }]);
    expect((await watcher.frame()).payload).toEqual({ action: "update", presence: { ...member.client, state } });
    member.send({ action: "presence", options: { id: "p2" }, payload: { name: "Danvers" } });
    expect(await next(member, 1)).toEqual([{ action: "ack", id: "p2" }]);
    expect((await watcher.frame()).payload.presence.state).toEqual({ name: "Danvers" });
    const late = await join(channel, {}, { presence: true });
    const { payload } = await late.frame();
    expect(payload.presence).toContainEqual({ ...member.client, state: { name: "Danvers" } });
    const listed = await (await call("GET", `/channels/${encodeURIComponent(channel)}/presence`)).json();
    expect(listed).toMatchObject({
      presence: expect.arrayContaining([{ ...member.client, state: { name: "Danvers" } }]),
    });
    member.send({ action: "message", payload: 1 });
    expect((await member.frame()).client).toEqual(member.client);
  });

  it("survives the object's eviction, and ends with a leave", async () => {
    const channel = await newOpenChannel({ presence: true });
    const member = await join(channel);
    member.send({ action: "presence", options: { id: "p" }, payload: state });
    await member.frame();
    await evictDurableObject(stubOf(channel));
    const statesOf = async () => {
      const watcher = await join(channel, {}, { presence: true });
      const { presence } = (await watcher.frame()).payload as { presence: { socketId: string; state?: object }[] };
      return presence.find(({ socketId }) => socketId === member.client.socketId)?.state;
    };
    expect(await statesOf()).toEqual(state);
    for (const action of ["leave", "join"]) {
      member.send({ action });
      await member.frame();
    }
    expect(await statesOf()).toBeUndefined();
  });

  it.each<[string, unknown, string]>([
    ["too large", { text: "é".repeat(MAX_STATE_BYTES / 2) }, "too-large"],
    ["text", "Carol", "invalid-field"],
    ["a list", [1], "invalid-field"],
  ])("that is %s is refused", async (_, payload, code) => {
    const member = await join(await newOpenChannel());
    member.send({ action: "presence", options: { id: "p" }, payload });
    expect(await next(member, 1)).toMatchObject([{ action: "error", id: "p", payload: { code } }]);
  });

  it("can be set only by a member", async () => {
    const channel = await newOpenChannel();
    const outsider = await connect(channel);
    outsider.send({ action: "presence", options: { id: "p" }, payload: state });
    expect(await next(outsider, 1)).toMatchObject([{ id: "p", payload: { code: "not-joined" } }]);
    const server = await connect(channel, BY_API_KEY);
    server.send({ action: "join" });
    await server.frame();
    server.send({ action: "presence", options: { id: "p" }, payload: state });
    expect(await next(server, 1)).toMatchObject([{ id: "p", payload: { code: "forbidden" } }]);
  });
});

describe("an array of frames (CON10)", () => {
  it("is handled frame by frame, in order", async () => {
    const channel = await newOpenChannel();
    const socket = await connect(channel);
    const frames = [{ action: "join", options: { id: "j" } }, message("a", 1), { action: "shout" }, message("b", 2)];
    socket.send(` \n${JSON.stringify(frames)}`);
    const received = await next(socket, 6);
    expect(
      received.filter((frame) => (frame as { seq?: number }).seq !== undefined && "payload" in frame),
    ).toMatchObject([
      { action: "join", id: "j" },
      { seq: 1, id: "a" },
      { seq: 2, id: "b" },
    ]);
    expect(received.filter((frame) => ["ack", "error"].includes((frame as { action: string }).action))).toMatchObject([
      { action: "ack", id: "a", seq: 1 },
      { action: "error", payload: { code: "invalid-field" } },
      { action: "ack", id: "b", seq: 2 },
    ]);
  });

  it("gets its acks as one array on a batch socket", async () => {
    const socket = await connect(await newOpenChannel(), {}, "?frames=batch");
    socket.send([message("a", 1), message("b", 2)]);
    expect(JSON.parse(await socket.text())).toMatchObject([{ options: { id: "a" } }, { options: { id: "b" } }]);
  });

  it.each<[string, number]>([
    ["empty", 0],
    ["too long", MAX_ARRAY_FRAMES + 1],
  ])("that is %s is refused", async (_, count) => {
    const channel = await newOpenChannel();
    const socket = await connect(channel, BY_API_KEY);
    socket.send(Array.from({ length: count }, (__, n) => message(`id-${n}`, n)));
    expect(await next(socket, 1)).toMatchObject([{ payload: { code: "invalid-field", limit: MAX_ARRAY_FRAMES } }]);
    expect((await history(channel)).seq).toBe(0);
  });

  it("counts as many frames as it has (LIM6)", async () => {
    const now = Date.now();
    vi.spyOn(Date, "now").mockReturnValue(now);
    const socket = await connect(await newOpenChannel());
    const array = (from: number) => Array.from({ length: 60 }, (_, n) => message(`id-${from + n}`, n));
    socket.send(array(0));
    socket.send(array(60));
    const answers = await socket.frames(120);
    const refused = answers.filter(({ action }) => action === "error");
    expect(refused).toHaveLength(120 - FRAMES_AT_ONCE);
    expect(new Set(answers.map(({ options }) => (options as { id?: string }).id)).size).toBe(120);
  });
});

describe("a long array of frames", () => {
  it("counts as a frame for each 65,536 characters, so that parsing it costs its sender as much (LIM6)", async () => {
    const now = Date.now();
    vi.spyOn(Date, "now").mockReturnValue(now);
    const socket = await connect(await newOpenChannel());
    const long = [{ action: "shout", options: { id: "x" }, payload: "x".repeat(MAX_ARRAY_BYTES - 100) }];
    const admitted = Math.ceil(FRAMES_AT_ONCE / 16);
    for (let n = 0; n <= admitted; n++) socket.send(long);
    const codes = (await socket.frames(admitted + 1)).map(({ payload }) => payload.code);
    expect(codes).toEqual([...Array(admitted).fill("invalid-field"), "rate-limited"]);
  });

  it("has at most 1,048,576 bytes", async () => {
    const socket = await connect(await newOpenChannel(), BY_API_KEY);
    socket.send([{ action: "message", payload: "x".repeat(MAX_ARRAY_BYTES) }]);
    expect(await next(socket, 1)).toMatchObject([{ payload: { code: "too-large", limit: MAX_ARRAY_BYTES } }]);
    socket.send([{ action: "message", options: { id: "y" }, payload: "x".repeat(MAX_BODY_BYTES) }]);
    expect(await next(socket, 1)).toMatchObject([{ id: "y", payload: { code: "too-large", limit: MAX_BODY_BYTES } }]);
  });
});

describe("an event over a socket (PUB7)", () => {
  it("is published as over HTTP, with database, sender and type, and needs no join", async () => {
    const [database, foreign] = [await newDatabase(), await newDatabase()];
    const channel = await newOpenChannel({ database });
    const [socket, user, anonymous] = [
      await connect(channel, BY_API_KEY),
      await join(channel, {}, {}, await tokenOf(database, 1)),
      await join(channel),
    ];
    const events = [
      { id: "a", database },
      { id: "b", sender: { database, id: 5 }, type: "order.created" },
      { id: "c", sender: { database: foreign, id: "x" } },
      { id: "d", sender: { database: "never-set", id: 1 } },
      { id: "e", database: foreign },
    ];
    for (const options of events) socket.send({ action: "event", options, payload: options.id });
    expect(await next(socket, 5)).toMatchObject([
      { action: "ack", id: "a", seq: 1 },
      { action: "ack", id: "b", seq: 2 },
      { action: "ack", id: "c", seq: 3 },
      { action: "error", id: "d", payload: { field: "options.sender.database" } },
      { action: "error", id: "e", payload: { code: "forbidden", field: "options.database" } },
    ]);
    const [second, third] = await anonymous.frames(2);
    expect(second?.client?.permissions.row_id).toBe(5);
    expect(third?.client?.permissions.row_id).toBe("x");
    expect(await next(user, 3)).toMatchObject([
      { payload: "a" },
      { payload: "b", type: "order.created" },
      { payload: "c" },
    ]);
  });
});

describe("a socket for many channels (MUX8)", () => {
  const onChannel = (channel: string, frame: { action: string; options?: object; payload?: unknown }) => ({
    ...frame,
    options: { channel, ...frame.options },
  });

  it("carries ids, acks, state, ephemeral messages and arrays", async () => {
    const [one, two] = [await newOpenChannel({ presence: true }), await newOpenChannel()];
    const socket = await connectToMany();
    socket.send([
      onChannel(one, { action: "join", options: { id: "j1" } }),
      onChannel(two, { action: "join", options: { id: "j2" } }),
    ]);
    const joined = await socket.frames(2);
    expect(new Set(joined.map(({ options }) => (options as { id?: string }).id))).toEqual(new Set(["j1", "j2"]));
    socket.send([
      onChannel(one, message("a", 1)),
      onChannel(one, { action: "presence", options: { id: "p" }, payload: { name: "Carol" } }),
      onChannel(one, message("b", 2, { ephemeral: true })),
    ]);
    const answers = await next(socket, 5);
    expect(answers.filter((frame) => (frame as { action: string }).action === "ack")).toEqual([
      { action: "ack", id: "a", seq: 1 },
      { action: "ack", id: "p" },
      { action: "ack", id: "b" },
    ]);
    socket.send(onChannel(newChannel(), message("c", 1)));
    expect(await next(socket, 1)).toMatchObject([{ id: "c", payload: { code: "not-joined" } }]);
  });

  it("lets an API-key client publish to channels that it has not joined, and nobody else", async () => {
    const [one, two] = [newChannel(), newChannel()];
    const server = await connectToMany(BY_API_KEY);
    server.send(
      [one, two, one].map((channel, n) => onChannel(channel, { action: "event", options: { id: `${n}` }, payload: n })),
    );
    const acks = await server.frames(3);
    const seqs = Object.fromEntries(
      acks.map(({ options }) => [(options as unknown as { id: string }).id, options.seq]),
    );
    expect(seqs).toEqual({ 0: 1, 1: 1, 2: 2 });
    expect((await history(one)).messages.map(({ payload }) => payload)).toEqual([0, 2]);
    const anonymous = await connectToMany();
    anonymous.send(onChannel(await newOpenChannel(), { action: "event", options: { id: "x" }, payload: 1 }));
    expect(await next(anonymous, 1)).toMatchObject([{ id: "x", payload: { code: "not-joined" } }]);
  });
});
