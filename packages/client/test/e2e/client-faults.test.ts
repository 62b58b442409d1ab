import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocketServer } from "ws";
import { MAX_QUEUED_MESSAGES, type ChannelError, type Position } from "../../src/client.ts";
import { MAX_HELD_CHARACTERS, MAX_HELD_MESSAGES } from "../../src/message-sequencer.ts";
import { failure, joinChannel, openChannel, payloadsOf, until } from "../../../../test/support/client.ts";
import { serve } from "../../../../test/support/serve.ts";
import { FaultyProxy } from "../../../../test/support/faulty-proxy.ts";
import { call, history, newChannel, newRoom, publish, target } from "../../../../test/e2e/support.ts";

async function newProxy(): Promise<FaultyProxy> {
  const proxy = await FaultyProxy.to(target().url);
  onTestFinished(() => proxy.close());
  return proxy;
}

const stored = async (channel: string) =>
  (await history(target(), channel, "?limit=1000")).messages.map(({ payload }) => payload as unknown);

// What breaks here is a proxy that carries plain HTTP.
describe.runIf(target().url.startsWith("http://"))("a channel whose connection is lost", () => {
  it("reconnects, delivers the missed messages before new ones, and reports it (RES1)", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const [events, statuses, resumed] = [payloadsOf(room, "event"), vi.fn(), vi.fn()];
    const joins: unknown[] = [];
    room.on("frame", (frame) => frame.action === "join" && joins.push(frame.options.resumed));
    room.on("status", statuses);
    room.on("resumed", resumed);
    await publish(target(), name, "before");
    await until(() => events.length === 1);
    proxy.block();
    await until(() => room.status === "offline");
    for (const n of [1, 2, 3]) await publish(target(), name, `missed ${n}`);
    proxy.open();
    await until(() => resumed.mock.calls.length);
    await publish(target(), name, "after");
    await until(() => events.length === 5);
    expect(events).toEqual(["before", "missed 1", "missed 2", "missed 3", "after"]);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 3, complete: true });
    expect(statuses.mock.calls.flat()).toEqual(["offline", "online"]);
    expect(joins).toEqual([true]);
  });

  it("receives the current members again (PRE1)", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    const room = await joinChannel(proxy, name, { presence: true });
    const other = await joinChannel(target(), name);
    await until(() => room.presence.length === 2);
    proxy.block();
    other.close();
    proxy.open();
    await until(() => room.status === "online" && room.presence.length === 1);
    expect(room.presence).toEqual([room.me]);
  });
});

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** Publishes the numbers from 1 to `count`, each as the message with that `seq`. */
async function fill(channel: string, count: number): Promise<void> {
  for (let from = 1; from <= count; from += 1_000) {
    const batch = numbers(from, Math.min(from + 999, count)).map((message) => ({ channel, message }));
    expect((await call(target(), "POST", "/messages", batch)).status).toBe(200);
  }
}

const isPage = (path: string) => path.includes("/messages?");

describe.runIf(target().url.startsWith("http://"))("a channel that is too far behind to be replayed (RES2)", () => {
  it("delivers each page before it requests the next", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    await fill(name, 2_501);
    const requested: [delivered: number, seq: number | undefined][] = [];
    proxy.examine((path) => {
      if (isPage(path)) requested.push([events.length, room.seq]);
      return true;
    });
    const room = openChannel(proxy, name, { after: 1 });
    const [events, resumed] = [payloadsOf(room, "event"), vi.fn()];
    room.on("resumed", resumed);
    await until(() => resumed.mock.calls.length);
    expect(requested).toEqual([
      [0, 1],
      [1_000, 1_001],
      [2_000, 2_001],
    ]);
    expect(events).toEqual(numbers(2, 2_501));
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 2_500, complete: true });
  });

  it("catches up even if the network fails on every second page", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    await fill(name, 4_001);
    let requests = 0;
    proxy.examine((path) => !isPage(path) || ++requests % 2 === 1);
    const room = openChannel(proxy, name, { after: 1 });
    const [events, resumed, joins] = [payloadsOf(room, "event"), vi.fn(), vi.fn()];
    room.on("resumed", resumed);
    room.on("frame", ({ action }) => action === "join" && joins());
    await until(() => resumed.mock.calls.length);
    await publish(target(), name, 4_002);
    await until(() => room.seq === 4_002);
    expect(events).toEqual(numbers(2, 4_002));
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 4_000, complete: true });
    // The page alone is requested again; the connection is as good as it was.
    expect([requests, joins.mock.calls.length]).toEqual([7, 1]);
  });

  it("continues after the last page when the connection is lost twice meanwhile", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    await fill(name, 4_501);
    const positions: (string | null)[] = [];
    proxy.examine((path) => {
      if (!isPage(path)) return true;
      const after = new URL(path, proxy.url).searchParams.get("after");
      const isFirst = !positions.includes(after);
      positions.push(after);
      if (isFirst && (after === "1001" || after === "2001")) proxy.cut();
      return true;
    });
    const room = openChannel(proxy, name, { after: 1 });
    const [events, resumed] = [payloadsOf(room, "event"), vi.fn()];
    room.on("resumed", resumed);
    await until(() => resumed.mock.calls.length);
    expect(events).toEqual(numbers(2, 4_501));
    expect(positions).toEqual(["1", "1001", "1001", "2001", "2001", "3001", "4001"]);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 4_500, complete: true });
  });

  it("counts each missed message once if a second connection replays the last of them", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    await fill(name, 1_501);
    let cut = false;
    proxy.examine((path) => {
      if (!cut && isPage(path) && path.includes("after=1001")) {
        cut = true;
        proxy.cut();
      }
      return true;
    });
    const room = openChannel(proxy, name, { after: 1 });
    const [events, resumed] = [payloadsOf(room, "event"), vi.fn()];
    room.on("resumed", resumed);
    await until(() => resumed.mock.calls.length);
    expect(events).toEqual(numbers(2, 1_501));
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 1_500, complete: true });
  });

  it.each([
    ["messages", MAX_HELD_MESSAGES + 200, ""],
    ["characters", 80, "x".repeat(MAX_HELD_CHARACTERS / 70)],
  ])("holds a limited number of %s for later, and reads the others from the history", async (_, count, padding) => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    await fill(name, 1_501);
    const [requested, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const ends: number[] = [];
    proxy.examine(async (path) => {
      if (!isPage(path)) return true;
      ends.push(Number(new URL(path, proxy.url).searchParams.get("before")) - 1);
      requested.resolve();
      await released.promise;
      return true;
    });
    const room = openChannel(proxy, name, { after: 1 });
    const seen: unknown[] = [];
    const resumed = vi.fn();
    room.on("event", ({ options }) => seen.push(options.seq));
    room.on("resumed", resumed);
    let live = 0;
    room.on("frame", ({ action }) => (live += action === "event" ? 1 : 0));
    await requested.promise;
    const batch = numbers(1, count).map((n) => ({ channel: name, message: `${n}${padding}` }));
    for (let from = 0; from < count; from += 10) {
      expect((await call(target(), "POST", "/messages", batch.slice(from, from + 10))).status).toBe(200);
    }
    await until(() => live === count);
    expect(seen).toEqual([]);
    released.resolve();
    await until(() => resumed.mock.calls.length);
    await publish(target(), name, "the last");
    await until(() => seen.length === 1_500 + count + 1);
    expect(seen).toEqual(numbers(2, 1_501 + count + 1));
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 1_500, complete: true });
    // The first page was for what was missed; those after it also for what was no longer held.
    expect(ends[0]).toBe(1_501);
    expect(ends[1]).toBeGreaterThan(1_501);
  });

  it("confirms the messages that it sends meanwhile, one echo for each message", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    await fill(name, 1_501);
    const released = Promise.withResolvers<void>();
    proxy.examine(async (path) => {
      if (isPage(path)) await released.promise;
      return true;
    });
    const room = await joinChannel(proxy, name, { after: 1 });
    const places = [await room.send("the same"), await room.send("the same")];
    expect(room.seq).toBe(1);
    const third = room.send("the same");
    released.resolve();
    expect([...places, await third].map(({ seq }) => seq)).toEqual([1_502, 1_503, 1_504]);
    await until(() => room.seq === 1_504);
  });

  it("stops when a handler closes it: `seq` is the last message delivered, and no more pages are read", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    await fill(name, 2_501);
    const paths: string[] = [];
    proxy.examine((path) => {
      if (isPage(path)) paths.push(path);
      return true;
    });
    const room = openChannel(proxy, name, { after: 1 });
    const events = payloadsOf(room, "event");
    room.on("event", ({ payload }) => payload === 500 && room.close());
    await until(() => room.status === "closed");
    expect([events.length, room.seq]).toEqual([499, 500]);
    // A connection opened later is carried later than a page that was requested would have been.
    await fetch(`${proxy.url}/health`);
    expect(paths).toHaveLength(1);
  });
});

describe("a server that is busy while a channel catches up", () => {
  it("gets the request for the page again after its Retry-After, over the same connection", async () => {
    const pages: number[] = [];
    const http = createServer((_, response) => {
      pages.push(performance.now());
      const messages = [event(2), event(3)];
      if (pages.length === 1) response.writeHead(503, { "Retry-After": "1" }).end("<html>busy</html>");
      else response.writeHead(200).end(JSON.stringify({ channel: "a/b", seq: 3, next: null, messages }));
    });
    const sockets = new WebSocketServer({ server: http });
    onTestFinished(() => {
      http.closeAllConnections();
      http.close();
    });
    const join = {
      action: "join",
      client: { socketId: "me", permissions: { dbo_id: 0, row_id: 0 }, extras: {} },
      options: { channel: "a/b", seq: 3, resumed: false, reason: "too-far-behind", next: "/" },
      payload: { history: false, presence: false },
    };
    let connections = 0;
    sockets.on("connection", (socket) => {
      connections += 1;
      socket.once("message", () => socket.send(JSON.stringify(join)));
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const room = openChannel({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` }, "a/b", { after: 1 });
    const [events, resumed] = [payloadsOf(room, "event"), vi.fn()];
    room.on("resumed", resumed);
    await until(() => resumed.mock.calls.length);
    expect(events).toEqual([2, 3]);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 2, complete: true });
    expect([pages.length, connections]).toEqual([2, 1]);
    expect((pages[1] ?? 0) - (pages[0] ?? 0)).toBeGreaterThanOrEqual(999);
  });
});

describe.runIf(target().url.startsWith("http://"))("a publish", () => {
  it("waits while the server cannot be reached, and is then sent in order", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    proxy.block();
    const places = [1, 2, 3].map((n) => room.publish(n));
    await until(() => room.status === "offline");
    proxy.open();
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(await stored(name)).toEqual([1, 2, 3]);
  });

  it("is sent again with the same key if its answer is lost, and is stored once (IDM1)", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const witness = await joinChannel(target(), name);
    const events = payloadsOf(witness, "event");
    proxy.lose("answers");
    const place = room.publish("once");
    await until(() => events.length);
    proxy.cut();
    expect(await place).toMatchObject({ seq: 1 });
    expect(await room.publish("next")).toMatchObject({ seq: 2 });
    expect(await stored(name)).toEqual(["once", "next"]);
  });

  it("is rejected if too many wait, and the error has the limit", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    proxy.block();
    const room = openChannel(proxy, name);
    const places = Array.from({ length: MAX_QUEUED_MESSAGES }, (_, n) => failure(room.publish(n)));
    expect(await failure(room.publish("one more"))).toMatchObject({ code: "queue-full", limit: MAX_QUEUED_MESSAGES });
    room.close();
    for (const place of places) expect(await place).toMatchObject({ code: "closed" });
    const large = openChannel(proxy, name);
    const text = "x".repeat(1024 * 1024);
    for (let n = 0; n < 3; n++) void failure(large.publish(text));
    expect(await failure(large.publish(text))).toMatchObject({ code: "queue-full" });
  });
});

describe("a server that is busy", () => {
  it("gets no request during its Retry-After, and then the same message with the same key", async () => {
    const attempts: { at: number; key: unknown }[] = [];
    const busy = await serve((request, response) => {
      if (request.url !== "/message") return void response.writeHead(404).end();
      attempts.push({ at: performance.now(), key: request.headers["idempotency-key"] });
      if (attempts.length === 1) response.writeHead(503, { "Retry-After": "1" }).end("<html>busy</html>");
      else response.writeHead(201).end('{"channel":"a","seq":7,"time":"2026-11-24T10:00:00.000Z"}');
    });
    const place: Position = await openChannel({ url: busy }, "a").publish(1);
    expect(place).toEqual({ seq: 7, time: "2026-11-24T10:00:00.000Z" });
    const [first, second] = attempts;
    expect(second?.key).toBe(first?.key);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(999);
  });

  it("gets no second request after a final refusal", async () => {
    let attempts = 0;
    const closed = await serve((request, response) => {
      if (request.url === "/message") attempts += 1;
      response.writeHead(403).end("<html>");
    });
    const room = openChannel({ url: closed }, "a");
    expect(await failure(room.publish(1))).toMatchObject({ code: "unexpected", status: 403 });
    expect(attempts).toBe(1);
  });
});

describe.runIf(target().url.startsWith("http://"))("a send", () => {
  it("waits while there is no connection, and is then sent in order", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    proxy.block();
    const room = openChannel(proxy, name);
    const places = [1, 2, 3].map((n) => room.send(n));
    proxy.open();
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(await stored(name)).toEqual([1, 2, 3]);
  });

  it.each(["answers", "requests"] as const)(
    "is sent again with the same id if the %s are lost, before newer messages, and is stored once",
    async (lost) => {
      const [proxy, name] = [await newProxy(), await newRoom(target())];
      const [room, witness] = [await joinChannel(proxy, name), await joinChannel(target(), name)];
      const messages = payloadsOf(witness, "message");
      proxy.lose(lost);
      const places = [room.send("the same"), room.send("the same"), room.send("third")];
      if (lost === "answers") await until(() => messages.length === 3);
      proxy.cut();
      places.push(room.send("fourth"));
      expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
      expect(await stored(name)).toEqual(["the same", "the same", "third", "fourth"]);
    },
  );

  it("that is private is unconfirmed if the connection is lost before the answer, and is not sent again", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    const [room, other] = [await joinChannel(proxy, name), await joinChannel(target(), name)];
    const told = payloadsOf(other, "private");
    proxy.lose("answers");
    const first = failure(room.send("once", { to: other.me?.socketId ?? "" }));
    await until(() => told.length);
    proxy.cut();
    expect(await first).toMatchObject({ name: "ChannelError", code: "unconfirmed" });
    await room.send("twice", { to: other.me?.socketId ?? "" });
    expect(told).toEqual(["once", "twice"]);
  });
});

describe("a token function", () => {
  it("is called again if it fails, and a publish waits for it", async () => {
    const name = await newRoom(target());
    let failures = 2;
    const token = async () => {
      if (failures-- > 0) throw new Error("the issuer is away");
      return target().apiKey;
    };
    const room = openChannel({ ...target(), token }, name);
    const errors: ChannelError[] = [];
    room.on("error", (error) => errors.push(error));
    expect(await room.publish("patient")).toMatchObject({ seq: 1 });
    await until(() => room.status === "online");
    expect(errors.every(({ code }) => code === "token")).toBe(true);
  });
});

describe("a server that cannot be reached", () => {
  it("is tried repeatedly until the channel is closed", async () => {
    const room = openChannel({ url: "http://127.0.0.1:9" }, newChannel());
    await until(() => room.status === "offline");
    const waiting = failure(room.publish(1));
    room.close();
    expect(await waiting).toMatchObject({ code: "closed" });
    expect(room.status).toBe("closed");
  });
});

/** A scripted server, which answers each received frame with the next of these texts. */
async function recite(...texts: string[]): Promise<{ url: string; heard: string[] }> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => server.close());
  const heardTexts: string[] = [];
  server.on("connection", (socket, { url, headers }) => {
    heardTexts.push(`${url} ${headers["sec-websocket-protocol"]}`);
    socket.on("message", (text: Buffer) => {
      heardTexts.push(text.toString());
      socket.send(texts.shift() ?? "pong");
    });
  });
  await new Promise((resolve) => server.once("listening", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, heard: heardTexts };
}

const event = (seq: number) => ({
  action: "event",
  options: { channel: "a/b", seq, time: "2026-11-24T10:00:00.000Z" },
  payload: seq,
});

describe("frames", () => {
  it("may arrive in arrays, which the client asks for; frames and arrays keep their order", async () => {
    const client = { socketId: "me", permissions: { dbo_id: 0, row_id: 0 }, extras: {} };
    const join = { action: "join", client, options: { channel: "a/b", seq: 1 }, payload: { history: false } };
    const server = await recite(
      JSON.stringify([join, event(2), event(3)]),
      JSON.stringify(event(4)),
      JSON.stringify([event(5), event(6)]),
    );
    const room = await joinChannel(server, "a/b");
    const [events, frames] = [payloadsOf(room, "event"), [] as string[]];
    room.on("frame", ({ action }) => frames.push(action));
    void failure(room.send("one"));
    await until(() => room.seq === 4);
    void failure(room.send("two"));
    await until(() => room.seq === 6);
    expect([events, frames]).toEqual([
      [4, 5, 6],
      ["event", "event", "event"],
    ]);
    expect(server.heard[0]).toBe("/channels/a%2Fb/socket?frames=batch durable-channels.v1");
    expect(JSON.parse(server.heard[1] ?? "")).toMatchObject({ action: "join", options: { channel: "a/b" } });
  });
});
