import * as v from "valibot";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import { type ChannelError, createClient } from "../../src/client.ts";
import { ChannelStore } from "../../src/store.ts";
import { FaultyProxy } from "../../../../test/support/faulty-proxy.ts";
import { failure, joinChannel, openChannel, payloadsOf, until } from "../../../../test/support/client.ts";
import { call, history, newChannel, newRoom, publish, target, tokenFor } from "../../../../test/e2e/support.ts";

const path = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

describe("a channel", () => {
  it("receives published events and clients' messages separately, each once (FRA1)", async () => {
    const name = await newRoom(target());
    const [one, two] = [await joinChannel(target(), name), await joinChannel(target(), name)];
    const [events, messages] = [payloadsOf(two, "event"), payloadsOf(two, "message")];
    await publish(target(), name, "from the server");
    await one.send({ from: "a client" });
    await two.publish("by HTTP");
    await until(() => events.length === 2 && messages.length === 1);
    expect([events, messages]).toEqual([["from the server", "by HTTP"], [{ from: "a client" }]]);
  });

  it("resolves a publish and a send to the message's position once it is stored (PUB2)", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    const places = [await room.publish("one"), await room.send("two")];
    expect(places.map(({ seq }) => seq)).toEqual([1, 2]);
    const stored = (await history(target(), room.name)).messages.map(({ options: { seq, time } }) => ({ seq, time }));
    expect(places).toEqual(stored);
  });

  it("rejects at once if anonymous clients have used up their quota (LIM14)", async () => {
    const room = await joinChannel(target(), await newRoom(target(), { anonymous_bytes_per_day: 0 }));
    await expect(room.publish("one")).rejects.toMatchObject({ code: "quota-exceeded", status: 429 });
    await expect(room.send("two")).rejects.toMatchObject({ code: "quota-exceeded" });
  });

  it("confirms a send on a channel whose messages only authenticated clients receive (FRA2)", async () => {
    const room = await joinChannel(target(), await newRoom(target(), { auth_channel: true }));
    const messages = payloadsOf(room, "message");
    const places = [await room.send("one"), await room.send("one")];
    expect(places.map(({ seq }) => seq)).toEqual([1, 2]);
    await publish(target(), room.name, "for users only");
    expect(await room.send("two")).toMatchObject({ seq: 4 });
    expect(messages).toEqual(["one", "one", "two"]);
  });

  it("delivers the requested history first, and then live messages (JOI4)", async () => {
    const name = await newRoom(target());
    for (const n of [1, 2]) await publish(target(), name, n);
    const room = openChannel(target(), name, { history: true });
    const events = payloadsOf(room, "event");
    await until(() => events.length === 2);
    await publish(target(), name, 3);
    await until(() => events.length === 3);
    expect(events).toEqual([1, 2, 3]);
    expect(room.seq).toBe(3);
  });

  it("resumes after the `seq` that is passed as `after` (RES1)", async () => {
    const name = await newRoom(target());
    for (const n of [1, 2, 3]) await publish(target(), name, n);
    const room = openChannel(target(), name, { after: 1 });
    const resumed = vi.fn();
    room.on("resumed", resumed);
    const events = payloadsOf(room, "event");
    await until(() => resumed.mock.calls.length);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 2, complete: true });
    expect(events).toEqual([2, 3]);
  });

  it("reads missed messages page by page if there are too many to replay, and keeps the order (RES2)", async () => {
    const name = await newRoom(target());
    const count = 1_500;
    for (const from of [0, 750]) {
      const batch = Array.from({ length: 750 }, (_, n) => ({ channel: name, message: from + n + 1 }));
      expect((await call(target(), "POST", "/messages", batch)).status).toBe(200);
    }
    const room = openChannel(target(), name, { after: 1 });
    const events = payloadsOf(room, "event");
    await until(() => room.status === "online");
    await publish(target(), name, count + 1);
    await until(() => events.length === count);
    expect(events).toEqual(Array.from({ length: count }, (_, n) => n + 2));
  });

  it("reports a gap if its position is beyond the channel's last, and continues from there (RES2)", async () => {
    const name = await newRoom(target());
    await publish(target(), name, 1);
    const room = openChannel(target(), name, { after: 10 });
    const [resumed, events] = [vi.fn(), payloadsOf(room, "event")];
    room.on("resumed", resumed);
    await until(() => resumed.mock.calls.length);
    await publish(target(), name, 2);
    await until(() => events.length);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 0, complete: false });
    expect([events, room.seq]).toEqual([[2], 2]);
  });

  it("reports a gap if the channel shows no history (RES2)", async () => {
    const name = await newRoom(target(), { message_history: 0 });
    for (const n of [1, 2]) await publish(target(), name, n);
    const room = openChannel(target(), name, { after: 1 });
    const [resumed, events] = [vi.fn(), payloadsOf(room, "event")];
    room.on("resumed", resumed);
    await until(() => resumed.mock.calls.length);
    await publish(target(), name, 3);
    await until(() => events.length);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 0, complete: false });
    expect(events).toEqual([3]);
  });

  it("pages through the history, backward and forward (HIS4)", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    for (let n = 1; n <= 7; n++) await room.publish(n);
    const read = async (range: object) => {
      const pages: unknown[][] = [];
      for await (const page of room.history(range)) pages.push(page.map(({ payload }) => payload));
      return pages;
    };
    expect(await read({ limit: 3 })).toEqual([[5, 6, 7], [2, 3, 4], [1]]);
    expect(await read({ limit: 3, after: 2 })).toEqual([
      [3, 4, 5],
      [6, 7],
    ]);
    expect(await read({ limit: 3, before: 3 })).toEqual([[1, 2]]);
  });

  it("knows the members, and its own identity (PRE1, PRE2)", async () => {
    const name = await newRoom(target());
    const one = await joinChannel(target(), name, { presence: true });
    await until(() => one.presence.length === 1);
    const changes: unknown[] = [];
    one.on("presence", ({ total, change }) => changes.push([total, change?.action]));
    const two = await joinChannel(target(), name, { presence: true });
    await until(() => one.presence.length === 2 && two.presence.length === 2);
    expect(one.presence.map(({ socketId }) => socketId)).toContain(two.me?.socketId);
    two.close();
    await until(() => one.presence.length === 1);
    expect(one.presence).toEqual([one.me]);
    expect(changes).toEqual([
      [2, "join"],
      [1, "leave"],
    ]);
  });

  it("sends a private message to one client, and reports an error if that client is missing (FRA5)", async () => {
    const name = await newRoom(target());
    const [one, two, three] = [
      await joinChannel(target(), name),
      await joinChannel(target(), name),
      await joinChannel(target(), name),
    ];
    const [told, others] = [
      payloadsOf(two, "private"),
      [...payloadsOf(one, "private"), ...payloadsOf(three, "private")],
    ];
    const errors: ChannelError[] = [];
    one.on("error", (error) => errors.push(error));
    expect(await one.send("psst", { to: two.me?.socketId ?? "" })).toBeUndefined();
    await until(() => told.length);
    expect([told, others]).toEqual([["psst"], []]);
    const refused = { code: "unknown-recipient", field: "options.socketId" };
    expect(await failure(one.send("is anybody there?", { to: "nobody" }))).toMatchObject(refused);
    expect(await one.send("and now to all")).toMatchObject({ seq: 1 });
    expect(errors).toEqual([]);
  });

  it("does not confuse a private message's error with the next message's (ERR2)", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    const outcomes = await Promise.all([failure(room.send("psst", { to: "nobody" })), room.send("for all")]);
    expect(outcomes).toMatchObject([{ code: "unknown-recipient" }, { seq: 1 }]);
  });

  it("sends a private message to all clients of a user, and one to everyone except a client", async () => {
    const { channel, database, token } = await tokenFor(target(), newChannel(), 42);
    const messaging = { active: true, auth: true };
    const settings = { database, message_history: 100, public_messaging: messaging, private_messaging: messaging };
    expect((await call(target(), "PUT", path(channel), settings)).status).toBe(200);
    const user = { ...target(), token };
    const [one, two] = [await joinChannel(user, channel), await joinChannel(user, channel)];
    const told = [payloadsOf(one, "private"), payloadsOf(two, "private")];
    const { dbo_id = 0, row_id = 0 } = one.me?.permissions ?? {};
    await one.send("psst", { to: { dbo_id, row_id } });
    await until(() => told.every(({ length }) => length > 0));
    expect(told).toEqual([["psst"], ["psst"]]);
    const messages = payloadsOf(two, "message");
    await one.send("not for two", { except: two.me?.socketId ?? "" });
    await one.send("for all");
    await until(() => messages.length);
    expect(messages).toEqual(["for all"]);
  });

  it("delivers messages by their type, also from the history", async () => {
    const name = await newRoom(target());
    const [one, two] = [await joinChannel(target(), name), await joinChannel(target(), name)];
    const [orders, all] = [[] as unknown[], payloadsOf(two, "message")];
    two.on("message", "order.created", ({ payload, options }) => orders.push([payload, options.type]));
    await one.send(1, { type: "order.created" });
    await one.send(2, { type: "order.paid" });
    await one.publish(3, { type: "order.created" });
    await one.send(4);
    await until(() => all.length === 3);
    expect(orders).toEqual([[1, "order.created"]]);
    for await (const page of one.history({ type: "order.created" })) {
      expect(page.map(({ payload }) => payload)).toEqual([1, 3]);
    }
  });

  it("delivers ephemeral messages once to whoever is there, and stores none of them", async () => {
    const name = await newRoom(target());
    const [one, two] = [await joinChannel(target(), name), await joinChannel(target(), name)];
    const seen: unknown[] = [];
    two.on("ephemeral", "typing", ({ payload, action, options }) => seen.push([payload, action, options.ephemeral]));
    await one.sendEphemeral("over the socket", { type: "typing" });
    expect(await one.publish("over HTTP", { type: "typing", ephemeral: true })).toBeUndefined();
    await until(() => seen.length === 2);
    expect(seen).toEqual([
      ["over the socket", "message", true],
      ["over HTTP", "event", true],
    ]);
    expect((await history(target(), name)).messages).toEqual([]);
  });

  it("shows its state to the other members, again after a reconnect, and an error if it is too large", async () => {
    const name = await newRoom(target());
    const watcher = await joinChannel(target(), name, { presence: true });
    const stateOf = (at: number) =>
      watcher.presence.filter(({ socketId }) => socketId !== watcher.me?.socketId)[at]?.state;
    const member = await joinChannel(target(), name);
    await member.setPresence({ typing: true });
    await until(() => stateOf(0)?.["typing"] === true);
    expect(await failure(member.setPresence({ text: "x".repeat(2_000) }))).toMatchObject({ limit: 1_024 });
    await member.setPresence({});
    await until(() => JSON.stringify(stateOf(0) ?? {}) === "{}");
  });

  it("leaves on close, receives nothing more, and rejects later sends", async () => {
    const name = await newRoom(target());
    const [room, witness] = [await joinChannel(target(), name), await joinChannel(target(), name, { presence: true })];
    const events = payloadsOf(room, "event");
    await until(() => witness.presence.length === 2);
    const statuses = vi.fn();
    room.on("status", statuses);
    room.close();
    await until(() => witness.presence.length === 1);
    await publish(target(), name, "nobody listens");
    expect(await failure(room.publish(1))).toMatchObject({ name: "ChannelError", code: "closed" });
    expect(await failure(room.send(1))).toMatchObject({ code: "closed" });
    expect([room.status, events]).toEqual(["closed", []]);
    expect(statuses).toHaveBeenCalledExactlyOnceWith("closed");
  });

  it("delivers nothing after close, not even the rest of a history", async () => {
    const name = await newRoom(target());
    for (const n of [1, 2, 3]) await publish(target(), name, n);
    const room = openChannel(target(), name, { history: true });
    const events = payloadsOf(room, "event");
    room.on("event", () => room.close());
    await until(() => room.status === "closed");
    expect(events).toEqual([1]);
  });

  it("still calls the other handlers, in order, if one throws", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    const uncaught = vi.fn();
    process.once("uncaughtException", uncaught);
    onTestFinished(() => void process.off("uncaughtException", uncaught));
    const stop = room.on("event", () => {
      throw new Error("a handler's own");
    });
    const events = payloadsOf(room, "event");
    await room.publish(1);
    await until(() => events.length === 1);
    stop();
    await room.publish(2);
    await until(() => events.length === 2);
    expect(uncaught).toHaveBeenCalledTimes(1);
  });
});

describe("a refusal", () => {
  it("rejects a publish with the server's problem: code, status, field and limit (ERR1)", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    expect(await failure(room.publish("x".repeat(70_000)))).toMatchObject({
      name: "ChannelError",
      code: "too-large",
      status: 413,
      limit: 65_536,
    });
    await room.publish("a", { idempotencyKey: "the-same" });
    expect(await failure(room.publish("b", { idempotencyKey: "the-same" }))).toMatchObject({
      code: "key-reused",
      status: 422,
      field: "Idempotency-Key",
    });
  });

  it("rejects a send with the error frame, and does not affect the next one (ERR2)", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    const [refused, next] = [failure(room.send("x".repeat(70_000))), room.send("short")];
    expect(await refused).toMatchObject({ code: "too-large", limit: 65_536 });
    expect(await next).toMatchObject({ seq: 1 });
  });

  it("happens before sending if a payload cannot be written as JSON", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    for (const payload of [undefined, 1n, circle]) {
      expect(await failure(room.publish(payload))).toMatchObject({ code: "invalid-payload", field: "payload" });
    }
  });

  it("makes the client send again, in order, if it sent too fast over the socket (LIM6)", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    const places = await Promise.all(Array.from({ length: 150 }, (_, n) => room.send(n)));
    expect(places.map(({ seq }) => seq)).toEqual(Array.from({ length: 150 }, (_, n) => n + 1));
    expect(
      (await history(target(), room.name, "?limit=1000")).messages.map(({ payload }) => payload as unknown),
    ).toEqual(Array.from({ length: 150 }, (_, n) => n));
  });

  it("of a connection causes an error with the reason, which a browser's socket hides", async () => {
    const room = openChannel(target(), newChannel());
    const error = await new Promise<ChannelError>((resolve) => room.on("error", resolve));
    expect(error).toMatchObject({ code: "unauthorized", status: 401 });
    expect(room.status).toBe("offline");
  });

  it("closes the channel if the settings no longer admit the client (CON6)", async () => {
    const room = await joinChannel(target(), await newRoom(target()));
    const errors: ChannelError[] = [];
    room.on("error", (error) => errors.push(error));
    expect((await call(target(), "PUT", path(room.name), { active: false })).status).toBe(200);
    await until(() => room.status === "closed");
    expect(errors[0]?.code).toBe("forbidden");
  });
});

describe("a channel as a store", () => {
  it("notifies its listeners once for a history of a hundred messages", async () => {
    const name = await newRoom(target(), { message_history: 100 });
    const batch = Array.from({ length: 100 }, (_, n) => ({ channel: name, message: n }));
    expect((await call(target(), "POST", "/messages", batch)).status).toBe(200);
    const store = new ChannelStore(createClient(target()), name);
    const listener = vi.fn();
    onTestFinished(store.subscribe(listener, { history: true, keep: 1_000 }));
    await until(() => store.snapshot().messages.length === 100);
    // Being online, and the history: each at most once.
    expect(listener.mock.calls.length).toBeLessThanOrEqual(2);
  });
});

describe("the store of a channel", () => {
  /** Returns a store with one listener, and its messages as texts with their states. */
  function newStore(name: string, url = target().url) {
    const store = new ChannelStore<string, string>(createClient({ url }), name);
    onTestFinished(store.subscribe(() => {}, { history: true, keep: 100 }));
    const shown = () => store.snapshot().messages.map(({ payload, state }) => `${payload} ${state}`);
    return { store, shown };
  }

  it.runIf(target().url.startsWith("http://"))(
    "shows a message while it is being sent, and one entry with the same key once it is stored",
    async () => {
      const [name, proxy] = [await newRoom(target()), await FaultyProxy.to(target().url)];
      onTestFinished(() => proxy.close());
      const { store, shown } = newStore(name, proxy.url);
      await until(() => store.snapshot().status === "online");
      proxy.lose("answers");
      const sent = [store.send("one"), store.send("two")];
      await until(() => shown().length === 2);
      expect(shown()).toEqual(["one pending", "two pending"]);
      const keys = store.snapshot().messages.map(({ key }) => key);
      await until(async () => (await history(target(), name)).messages.length === 2);
      proxy.cut();
      await Promise.all(sent);
      await until(() => store.snapshot().messages.every(({ options }) => options.seq !== undefined));
      expect(shown()).toEqual(["one sent", "two sent"]);
      await store.send("three");
      await until(() => shown().length === 3);
      expect(shown()).toEqual(["one sent", "two sent", "three sent"]);
      expect(new Set(keys).size).toBe(2);
      const { messages } = store.snapshot();
      expect(messages.map(({ options }) => options.seq)).toEqual([1, 2, 3]);
    },
  );

  it("keeps the key of a message that becomes a stored one", async () => {
    const { store } = newStore(await newRoom(target()));
    await until(() => store.snapshot().status === "online");
    const keys = new Set<string>();
    store.subscribe(() => store.snapshot().messages.forEach(({ key }) => keys.add(key)));
    await store.send("one");
    await until(() => store.snapshot().messages[0]?.options.seq === 1);
    expect([...keys]).toEqual([store.snapshot().messages[0]?.key]);
  });

  it("shows why a message was not sent, and sends it again or removes it", async () => {
    const name = await newRoom(target(), { public_messaging: { active: false } });
    const { store, shown } = newStore(name);
    await Promise.all([failure(store.send("one")), failure(store.send("two"))]);
    await until(() => shown().length === 2);
    expect(shown()).toEqual(["one failed", "two failed"]);
    const [one, two] = store.snapshot().messages;
    expect(one?.error?.code).toBe("forbidden");
    if (!one || !two) throw new Error("There are two messages.");
    const settings = { anonymous_clients: true, message_history: 25, public_messaging: { active: true } };
    expect((await call(target(), "PUT", path(name), settings)).status).toBe(200);
    store.discard(two);
    await store.retry(one);
    await until(() => shown()[0] === "one sent");
    await until(() => shown().length === 1);
    expect((await history(target(), name)).messages.map(({ payload }) => payload)).toEqual(["one"]);
  });

  it("joins the channel once for several listeners, also if one needs the members later", async () => {
    const { store } = newStore(await newRoom(target()));
    await until(() => store.snapshot().status === "online");
    expect(store.snapshot().presence.members).toEqual([]);
    await store.setPresence({ typing: true });
    onTestFinished(store.subscribe(() => {}, { presence: true }));
    await until(() => store.snapshot().presence.total === 1);
    expect(store.snapshot().presence.members).toMatchObject([{ ...store.snapshot().me, state: { typing: true } }]);
  });

  it("shows why there is no connection, and no error once there is one", async () => {
    const { channel: name, token: good } = await tokenFor(target(), newChannel(), 42);
    let token = "not-a-token";
    const client = createClient({ ...target(), token: () => token });
    const store = new ChannelStore(client, name);
    onTestFinished(store.subscribe(() => {}));
    await until(() => store.snapshot().error?.code === "unauthorized");
    expect(store.snapshot().status).toBe("offline");
    token = good;
    await until(() => store.snapshot().status === "online");
    expect(store.snapshot().error).toBeUndefined();
  });
});

describe("a client without a URL, where there is no page", () => {
  it("says what to pass", () => {
    expect(() => createClient()).toThrow("createClient({ url })");
  });
});

describe("a WebSocket constructor that is passed in", () => {
  it("is used if there is no global one", async () => {
    vi.stubGlobal("WebSocket", undefined);
    onTestFinished(() => void vi.unstubAllGlobals());
    const room = await joinChannel({ ...target(), WebSocket }, await newRoom(target()));
    expect(await room.send("hello")).toMatchObject({ seq: 1 });
  });
});

describe("a token", () => {
  it("is sent with the socket, the publish and the history (AUT4)", async () => {
    const { channel, token } = await tokenFor(target(), newChannel(), 42, { name: "Carol" });
    const room = await joinChannel({ ...target(), token }, channel);
    expect(room.me).toMatchObject({ permissions: { row_id: 42 }, extras: { name: "Carol" } });
    await room.publish("by HTTP");
    for await (const [message] of room.history()) expect(message?.client?.permissions.row_id).toBe(42);
    expect((await room.send("for users", { authenticated: true })).seq).toBe(2);
  });

  it("is requested again when it has expired, and the channel continues (AUT7)", async () => {
    const { channel, database } = await tokenFor(target(), newChannel(), 7);
    const token = vi.fn(async () => {
      // The server allows for clocks that differ by five seconds; only the first one expires within the test.
      const expires_in = token.mock.calls.length === 1 ? 1 : 600;
      const answer = await call(target(), "POST", `/databases/${database}/tokens`, { id: 7, expires_in });
      return ((await answer.json()) as { token: string }).token;
    });
    const room = openChannel({ ...target(), token }, channel);
    const statuses: string[] = [];
    room.on("status", (status) => statuses.push(status));
    await until(() => statuses.length === 3);
    expect(statuses).toEqual(["online", "offline", "online"]);
  });
});

describe("a schema", () => {
  const Line = v.object({
    text: v.string(),
    at: v.pipe(
      v.string(),
      v.isoTimestamp(),
      v.transform((at) => new Date(at)),
    ),
  });
  const line = { text: "hi", at: "2026-11-24T10:00:00.000Z" };

  it("gives payloads their type, and delivers its output", async () => {
    const room = await joinChannel(target(), await newRoom(target()), { schema: Line });
    const years: number[] = [];
    room.on("event", ({ payload }) => years.push(payload.at.getFullYear()));
    await room.publish(line);
    await until(() => years.length);
    expect(years).toEqual([2026]);
    for await (const [message] of room.history()) expect(message?.payload.at).toEqual(new Date(line.at));
  });

  it("keeps invalid payloads from the handlers and from the server", async () => {
    const room = await joinChannel(target(), await newRoom(target()), { schema: Line });
    const [events, errors]: [unknown[], ChannelError[]] = [payloadsOf(room, "event"), []];
    room.on("error", (error) => errors.push(error));
    await publish(target(), room.name, { text: 1 });
    await publish(target(), room.name, line);
    await until(() => events.length);
    expect(errors).toMatchObject([{ code: "invalid-payload", field: "payload.text" }]);
    expect(await failure(room.publish({ text: "no time" } as never))).toMatchObject({ field: "payload.at" });
    expect((await history(target(), room.name)).seq).toBe(2);
  });
});
