import type { XanoClient } from "@xano/js-sdk";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { MAX_UNCONFIRMED } from "../../src/channel/backpressure.ts";
import { Server } from "../support/server.ts";
import { type Action, newXanoClient } from "../support/xano.ts";
import { call, newChannel, newRoom, publish, publishAnonymously, target, type Target, tokenFor } from "./support.ts";

const RealWebSocket = globalThis.WebSocket;
afterEach(() => {
  globalThis.WebSocket = RealWebSocket;
});

type Channel = ReturnType<XanoClient["channel"]>;

/** A member of a channel, with all that its handlers were given. */
class Member {
  readonly actions: Action[] = [];
  readonly errors: Action[] = [];
  readonly channel: Channel;

  constructor(
    readonly xano: XanoClient,
    name: string,
    options: object = {},
  ) {
    this.channel = xano.channel(name, options);
    this.channel.on(
      (action: unknown) => this.actions.push(action as Action),
      (error: unknown) => this.errors.push(error as Action),
    );
    onTestFinished(() => this.channel.destroy());
  }

  static async join(at: Target, name: string, options: object = {}, config: object = {}): Promise<Member> {
    const member = new Member(newXanoClient(at.url, config), name, options);
    await member.next("join");
    return member;
  }

  /** The first action of a kind, or the n-th. */
  next(action: string, number = 1): Promise<Action> {
    return vi.waitUntil(() => this.of(action)[number - 1], { timeout: 30_000, interval: 10 });
  }

  of(action: string): Action[] {
    return this.actions.filter((given) => given.action === action);
  }

  payloads(action: string): unknown[] {
    return this.of(action).map(({ payload }) => payload as unknown);
  }

  error(number = 1): Promise<Action> {
    return vi.waitUntil(() => this.errors[number - 1], { timeout: 30_000, interval: 10 });
  }
}

describe("Xano's own client", () => {
  it("XanoClient.channel, on (all): connects, and is told of its connection", async () => {
    const channel = await newRoom(target());
    const member = await Member.join(target(), channel);
    expect(member.of("connection_status")[0]?.payload).toEqual({ status: "connected" });
    expect((await member.next("join")).options).toMatchObject({ channel });
  });

  it("on (one action): gets events of the server side apart from messages of clients", async () => {
    const channel = await newRoom(target());
    const member = await Member.join(target(), channel);
    const [events, messages]: [unknown[], unknown[]] = [[], []];
    member.channel.on("event" as never, (action: Action) => events.push(action.payload));
    member.channel.on("message" as never, (action: Action) => messages.push(action.payload));
    await publish(target(), channel, { from: "server" });
    member.channel.message({ from: "client" });
    await vi.waitUntil(() => events.length + messages.length === 2);
    expect([events, messages]).toEqual([[{ from: "server" }], [{ from: "client" }]]);
  });

  it("on (one action): gets events of anonymous publishers with their client, live and as history (EVT4)", async () => {
    const channel = await newRoom(target());
    const member = await Member.join(target(), channel);
    await publishAnonymously(target(), channel, "by anybody");
    const event = await member.next("event");
    expect(event).toMatchObject({
      payload: "by anybody",
      client: { socketId: "", permissions: { dbo_id: 0, row_id: 0 } },
    });
    member.channel.history();
    expect((await member.next("history")).payload).toMatchObject([{ payload: "by anybody", client: { socketId: "" } }]);
    expect(member.errors).toEqual([]);
  });

  it("on (error handler): a channel that fails is named, and leaves the others alone", async () => {
    const [good, bad] = [await newRoom(target()), newChannel()];
    const member = await Member.join(target(), good);
    const refused = new Member(member.xano, bad);
    expect(await refused.error()).toMatchObject({ options: { channel: bad }, payload: { code: "unauthorized" } });
    await publish(target(), good, "undisturbed");
    expect((await member.next("event")).payload).toBe("undisturbed");
    expect(member.errors).toEqual([]);
  });

  it("message: reaches everyone, its sender too", async () => {
    const channel = await newRoom(target());
    const [one, two] = [await Member.join(target(), channel), await Member.join(target(), channel)];
    one.channel.message({ text: "hi" });
    for (const member of [one, two]) expect((await member.next("message")).payload).toEqual({ text: "hi" });
  });

  it("message with authenticated: reaches authenticated clients only", async () => {
    const { channel, token } = await tokenFor(target(), newChannel(), 42);
    const settings = await call(target(), "GET", `/channels/${encodeURIComponent(channel)}`);
    const { database } = ((await settings.json()) as { settings: { database: string } }).settings;
    await call(target(), "PUT", `/channels/${encodeURIComponent(channel)}`, {
      anonymous_clients: true,
      public_messaging: { active: true },
      database,
    });
    const user = await Member.join(target(), channel, {}, { realtimeAuthToken: token });
    const stranger = await Member.join(target(), channel);
    user.channel.message("among us", { authenticated: true });
    user.channel.message("for all");
    expect((await user.next("message", 2)).client?.permissions.row_id).toBe(42);
    expect((await stranger.next("message")).payload).toBe("for all");
  });

  it("presence, getPresence, XanoRealtimeClient.message: who is here, and a word to one of them", async () => {
    const channel = await newRoom(target());
    const one = await Member.join(target(), channel, { presence: true });
    await one.next("presence_full");
    const two = await Member.join(target(), channel, { presence: true });
    await two.next("presence_full");
    await one.next("presence_update");
    expect(one.channel.getPresence()).toHaveLength(2);
    expect(two.channel.getPresence()).toHaveLength(2);
    const recipient = one.channel
      .getPresence()
      .find(({ socketId }) => socketId !== two.channel.getPresence()[0]?.socketId);
    recipient?.message({ psst: 1 });
    const received = await two.next("message");
    expect(received).toMatchObject({ payload: { psst: 1 }, options: { socketId: recipient?.socketId } });
    expect(one.of("message")).toEqual([]);
    two.channel.destroy();
    await one.next("presence_update", 2);
    expect(one.channel.getPresence()).toHaveLength(1);
  });

  it("history on join, history, XanoRealtimeClient.history: what was said", async () => {
    const channel = await newRoom(target());
    for (const n of [1, 2, 3]) await publish(target(), channel, n);
    const member = await Member.join(target(), channel, { history: true, presence: true });
    const saidOf = ({ payload }: Action) => (payload as Action[]).map((message) => message.payload as unknown);
    expect(saidOf(await member.next("history"))).toEqual([1, 2, 3]);
    member.channel.history();
    expect(saidOf(await member.next("history", 2))).toEqual([1, 2, 3]);
    await member.next("presence_full");
    member.channel.getPresence()[0]?.history();
    expect(saidOf(await member.next("history", 3))).toEqual([1, 2, 3]);
  });

  it("destroy: leaves one channel and keeps the others, and ends the connection with the last", async () => {
    const [first, second] = [await newRoom(target()), await newRoom(target())];
    const one = await Member.join(target(), first);
    const two = new Member(one.xano, second);
    await two.next("join");
    one.channel.destroy();
    await publish(target(), first, "nobody listens");
    await publish(target(), second, "still here");
    expect((await two.next("event")).payload).toBe("still here");
    expect(one.of("event")).toEqual([]);
    const present = async () => {
      const answer = await call(target(), "GET", `/channels/${encodeURIComponent(second)}/presence`);
      return ((await answer.json()) as { total: number }).total;
    };
    expect(await present()).toBe(1);
    two.channel.destroy();
    await vi.waitUntil(async () => (await present()) === 0, { timeout: 30_000 });
  });

  it("setRealtimeAuthToken and realtimeReconnect: comes back as somebody else", async () => {
    const { channel, token } = await tokenFor(target(), newChannel(), 7);
    const member = new Member(newXanoClient(target().url), channel);
    expect((await member.error()).payload).toMatchObject({ code: "unauthorized" });
    member.xano.setRealtimeAuthToken(token);
    member.xano.realtimeReconnect();
    expect((await member.next("join")).client?.permissions.row_id).toBe(7);
  });

  it("queueOfflineActions: what was sent too early arrives once it can", async () => {
    const channel = await newRoom(target());
    const witness = await Member.join(target(), channel);
    const early = new Member(newXanoClient(target().url), channel, { queueOfflineActions: true });
    early.channel.message("too early");
    expect((await witness.next("message")).payload).toBe("too early");
  });

  it("many channels over one connection, each with its own order and nothing of the others", async () => {
    const rooms = await Promise.all(Array.from({ length: 20 }, () => newRoom(target())));
    const first = await Member.join(target(), rooms[0] ?? "");
    const members = [first, ...rooms.slice(1).map((room) => new Member(first.xano, room))];
    await Promise.all(members.map((member) => member.next("join")));
    for (const n of [1, 2]) await Promise.all(rooms.map((room) => publish(target(), room, `${room} ${n}`)));
    for (const [index, member] of members.entries()) {
      await member.next("event", 2);
      expect(member.payloads("event")).toEqual([`${rooms[index]} 1`, `${rooms[index]} 2`]);
    }
  });
});

describe("a busy channel", () => {
  it("keeps that client connected past the bound on slow readers, although it sends no heartbeats (MUX7)", async () => {
    const [busy, quiet] = [await newRoom(target()), await newRoom(target())];
    const member = await Member.join(target(), busy);
    const other = new Member(member.xano, quiet, { history: true });
    await other.next("history");
    const text = "x".repeat(60_000);
    const count = Math.ceil((3 * MAX_UNCONFIRMED) / text.length);
    for (let sent = 0; sent < count; sent += 15) {
      const batch = Array.from({ length: 15 }, (_, n) => ({ channel: busy, message: `${sent + n} ${text}` }));
      expect((await call(target(), "POST", "/messages", batch)).status).toBe(200);
      await member.next("event", sent + 15);
    }
    const events = member.payloads("event").map((payload) => Number.parseInt(String(payload), 10));
    expect(events).toEqual(events.map((_, index) => index));
    expect(member.of("join")).toHaveLength(1);
    const statuses = new Set(
      member.payloads("connection_status").map((payload) => (payload as { status: string }).status),
    );
    expect([...statuses]).toEqual(["connected"]);
    expect([other.of("join"), other.of("history"), other.of("connection_status")].map(({ length }) => length)).toEqual([
      1, 1, 0,
    ]);
  });
});

describe("a server that is killed and started again between two messages", () => {
  it(
    "costs that client its connection, after which it comes back by itself and hears what is said then",
    { timeout: 120_000 },
    async () => {
      const server = await Server.start();
      onTestFinished(() => server.remove());
      const channel = await newRoom(server);
      const member = await Member.join(server, channel, { history: true });
      await publish(server, channel, "before");
      await member.next("event");
      await server.kill();
      await server.run();
      await publish(server, channel, "while it was away");
      await member.next("join", 2);
      await publish(server, channel, "after");
      await vi.waitUntil(() => member.payloads("event").includes("after"), { timeout: 30_000 });
      // It may be back before or behind that message, which then comes live or in the history: either way once.
      const back = member.actions.findLastIndex(({ action }) => action === "history");
      const past = ((member.actions[back]?.payload ?? []) as Action[]).map(({ payload }) => payload as unknown);
      const live = member.actions.slice(back).filter(({ action }) => action === "event");
      expect([...past, ...live.map(({ payload }) => payload as unknown)]).toEqual([
        "before",
        "while it was away",
        "after",
      ]);
    },
  );
});
