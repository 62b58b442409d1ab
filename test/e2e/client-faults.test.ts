import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocketServer } from "ws";
import { MAX_QUEUED_MESSAGES, type ChannelError, type Place } from "../../src/client/client.ts";
import { enter, failure, heard, joined, until } from "../support/client.ts";
import { serve } from "../support/serve.ts";
import { Way } from "../support/way.ts";
import { history, newChannel, newRoom, publish, target } from "./support.ts";

async function newWay(): Promise<Way> {
  const way = await Way.to(target().url);
  onTestFinished(() => way.close());
  return way;
}

const stored = async (channel: string) =>
  (await history(target(), channel, "?limit=1000")).messages.map(({ payload }) => payload as unknown);

// What breaks here is a way that carries plain HTTP.
describe.runIf(target().url.startsWith("http://"))("a channel whose connection is lost", () => {
  it("comes back by itself, with what it missed before anything new, and says so (RES1)", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    const room = await joined(way, name);
    const [events, statuses, resumed] = [heard(room, "event"), vi.fn(), vi.fn()];
    const joins: unknown[] = [];
    room.on("frame", (frame) => frame.action === "join" && joins.push(frame.options.resumed));
    room.on("status", statuses);
    room.on("resumed", resumed);
    await publish(target(), name, "before");
    await until(() => events.length === 1);
    way.block();
    await until(() => room.status === "offline");
    for (const n of [1, 2, 3]) await publish(target(), name, `missed ${n}`);
    way.open();
    await until(() => resumed.mock.calls.length);
    await publish(target(), name, "after");
    await until(() => events.length === 5);
    expect(events).toEqual(["before", "missed 1", "missed 2", "missed 3", "after"]);
    expect(resumed).toHaveBeenCalledExactlyOnceWith({ missed: 3, complete: true });
    expect(statuses.mock.calls.flat()).toEqual(["offline", "online"]);
    expect(joins).toEqual([true]);
  });

  it("knows anew who is here (PRE1)", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    const room = await joined(way, name, { presence: true });
    const other = await joined(target(), name);
    await until(() => room.presence.length === 2);
    way.block();
    other.close();
    way.open();
    await until(() => room.status === "online" && room.presence.length === 1);
    expect(room.presence).toEqual([room.me]);
  });
});

describe.runIf(target().url.startsWith("http://"))("a publish", () => {
  it("waits while there is no way to the server, then goes in order", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    const room = await joined(way, name);
    way.block();
    const places = [1, 2, 3].map((n) => room.publish(n));
    await until(() => room.status === "offline");
    way.open();
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(await stored(name)).toEqual([1, 2, 3]);
  });

  it("whose answer is lost is sent again by the same key, and stored once (IDM1)", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    const room = await joined(way, name);
    const witness = await joined(target(), name);
    const events = heard(witness, "event");
    way.lose("answers");
    const place = room.publish("once");
    await until(() => events.length);
    way.cut();
    expect(await place).toMatchObject({ seq: 1 });
    expect(await room.publish("next")).toMatchObject({ seq: 2 });
    expect(await stored(name)).toEqual(["once", "next"]);
  });

  it("waits at most so many at a time, and says how many", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    way.block();
    const room = enter(way, name);
    const places = Array.from({ length: MAX_QUEUED_MESSAGES }, (_, n) => failure(room.publish(n)));
    expect(await failure(room.publish("one more"))).toMatchObject({ code: "queue-full", limit: MAX_QUEUED_MESSAGES });
    room.close();
    for (const place of places) expect(await place).toMatchObject({ code: "closed" });
    const large = enter(way, name);
    const text = "x".repeat(1024 * 1024);
    for (let n = 0; n < 3; n++) void failure(large.publish(text));
    expect(await failure(large.publish(text))).toMatchObject({ code: "queue-full" });
  });
});

describe("a server that is busy", () => {
  it("is left alone as long as it asks for, then sent the same message with the same key", async () => {
    const attempts: { at: number; key: unknown }[] = [];
    const busy = await serve((request, response) => {
      if (request.url !== "/message") return void response.writeHead(404).end();
      attempts.push({ at: performance.now(), key: request.headers["idempotency-key"] });
      if (attempts.length === 1) response.writeHead(503, { "Retry-After": "1" }).end("<html>busy</html>");
      else response.writeHead(201).end('{"channel":"a","seq":7,"time":"2026-11-24T10:00:00.000Z"}');
    });
    const place: Place = await enter({ url: busy }, "a").publish(1);
    expect(place).toEqual({ seq: 7, time: "2026-11-24T10:00:00.000Z" });
    const [first, second] = attempts;
    expect(second?.key).toBe(first?.key);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(999);
  });

  it("that refuses for good is not asked again", async () => {
    let attempts = 0;
    const closed = await serve((request, response) => {
      if (request.url === "/message") attempts += 1;
      response.writeHead(403).end("<html>");
    });
    const room = enter({ url: closed }, "a");
    expect(await failure(room.publish(1))).toMatchObject({ code: "unexpected", status: 403 });
    expect(attempts).toBe(1);
  });
});

describe.runIf(target().url.startsWith("http://"))("a send, which carries no key", () => {
  it("waits while there is no connection, then goes in order", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    way.block();
    const room = enter(way, name);
    const places = [1, 2, 3].map((n) => room.send(n));
    way.open();
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(await stored(name)).toEqual([1, 2, 3]);
  });

  it("whose echo is lost is confirmed by what was missed, and not sent again", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    const [room, witness] = [await joined(way, name), await joined(target(), name)];
    const messages = heard(witness, "message");
    way.lose("answers");
    const [first, second] = [room.send("first"), room.send("second")];
    await until(() => messages.length);
    way.cut();
    expect([(await first).seq, (await second).seq]).toEqual([1, 2]);
    expect(await stored(name)).toEqual(["first", "second"]);
  });

  it("that is not among what was missed is unconfirmed, and not sent again", async () => {
    const [way, name] = [await newWay(), await newRoom(target())];
    const room = await joined(way, name);
    way.lose("requests");
    const lost = failure(room.send("lost"));
    way.cut();
    expect(await lost).toMatchObject({ name: "ChannelError", code: "unconfirmed" });
    expect(await room.send("next")).toMatchObject({ seq: 1 });
    expect(await stored(name)).toEqual(["next"]);
  });
});

describe("a token function", () => {
  it("that fails is asked again, and a publish waits for it", async () => {
    const name = await newRoom(target());
    let failures = 2;
    const token = async () => {
      if (failures-- > 0) throw new Error("the issuer is away");
      return target().apiKey;
    };
    const room = enter({ ...target(), token }, name);
    const errors: ChannelError[] = [];
    room.on("error", (error) => errors.push(error));
    expect(await room.publish("patient")).toMatchObject({ seq: 1 });
    await until(() => room.status === "online");
    expect(errors.every(({ code }) => code === "token")).toBe(true);
  });
});

describe("an address where nobody answers", () => {
  it("is tried again and again, and closing ends it", async () => {
    const room = enter({ url: "http://127.0.0.1:9" }, newChannel());
    await until(() => room.status === "offline");
    const waiting = failure(room.publish(1));
    room.close();
    expect(await waiting).toMatchObject({ code: "closed" });
    expect(room.status).toBe("closed");
  });
});

/** A server that speaks the protocol from a script: it answers whatever it hears with the next of these texts. */
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
  it("may come several in an array, which the client asks for; frames and arrays keep their order", async () => {
    const client = { socketId: "me", permissions: { dbo_id: 0, row_id: 0 }, extras: {} };
    const join = { action: "join", client, options: { channel: "a/b", seq: 1 }, payload: { history: false } };
    const echo = { ...event(5), action: "message", client, payload: "said" };
    const server = await recite(
      JSON.stringify([join, event(2), event(3)]),
      JSON.stringify(event(4)),
      JSON.stringify([echo, event(6)]),
    );
    const room = await joined(server, "a/b");
    const [events, frames] = [heard(room, "event"), [] as string[]];
    room.on("frame", ({ action }) => frames.push(action));
    await room.send("psst", { to: "somebody" });
    expect(await room.send("said")).toMatchObject({ seq: 5 });
    await until(() => room.seq === 6);
    expect([events, frames]).toEqual([
      [4, 6],
      ["event", "message", "event"],
    ]);
    expect(server.heard[0]).toBe("/channels/a%2Fb/socket?frames=batch durable-channels.v1");
    expect(JSON.parse(server.heard[1] ?? "")).toMatchObject({ action: "join", options: { channel: "a/b" } });
  });
});
