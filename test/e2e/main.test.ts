import { describe, expect, it, onTestFinished } from "vitest";
import { createClient } from "../../packages/client/src/client.ts";
import { Server } from "../support/server.ts";
import { call, connect, history, join, newChannel, publish, target } from "./support.ts";

describe("a running server", () => {
  it("stores a message, delivers it to every subscriber, and shows it in history (PUB2, PUB3, HIS1)", async () => {
    const channel = newChannel();
    const subscribers = await Promise.all([join(target(), channel), join(target(), channel)]);
    const { seq, time } = await publish(target(), channel, { text: "Avengers, assemble!" });
    const expected = { action: "event", options: { channel, seq, time }, payload: { text: "Avengers, assemble!" } };
    for (const subscriber of subscribers) expect(await subscriber.frame()).toEqual(expected);
    expect((await history(target(), channel)).messages).toEqual([expected]);
  });

  it.each(["marvel_chat_room", "marvel-chat-room"])(
    "opens the demo channel %s to anonymous clients",
    async (channel) => {
      const { url } = target();
      const answer = await fetch(`${url}/message`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ channel, message: "hello" }),
      });
      expect(answer.status).toBe(201);
      const { seq } = (await answer.json()) as { seq: number };
      const page = await fetch(`${url}/channels/${channel}/messages?after=${seq - 1}`);
      expect(await page.json()).toMatchObject({ messages: [{ payload: "hello" }] });
    },
  );

  it("answers heartbeats (CON3)", async () => {
    const socket = await connect(target(), newChannel());
    socket.send("ping");
    expect(await socket.text()).toBe("pong");
  });

  it("refuses bodies far over the limit, and keeps running (LIM1)", async () => {
    const answer = await call(target(), "POST", "/message", { channel: newChannel(), message: "x".repeat(20_000_000) });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ limit: 65_536 });
    expect((await publish(target(), newChannel(), 1)).seq).toBe(1);
  });

  it("refuses frames far over the limit, and keeps this connection and all others open (LIM1, ERR3)", async () => {
    const channel = newChannel();
    const [loud, quiet] = [await join(target(), channel), await join(target(), channel)];
    loud.send({ action: "message", payload: "x".repeat(5_000_000) });
    loud.send(Buffer.from([1, 2, 3]));
    expect((await loud.frames(2)).map(({ payload }) => payload.code)).toEqual(["too-large", "not-text"]);
    await publish(target(), channel, "undisturbed");
    for (const socket of [loud, quiet]) expect((await socket.frame()).payload).toBe("undisturbed");
  });

  it("serves the page with a strict Content Security Policy", async () => {
    const page = await fetch(target().url);
    expect(page.headers.get("Content-Type")).toMatch(/^text\/html/);
    expect(page.headers.get("Content-Security-Policy")).toContain("default-src 'none'; script-src 'self'");
  });
});

describe("a server that is killed and started again", () => {
  it("has lost nothing, continues the numbering, and its subscribers resume by themselves (ORD1, ORD4, RES1)", async () => {
    const server = await Server.start();
    onTestFinished(() => server.remove());
    const channel = newChannel();
    await call(server, "PUT", `/channels/${encodeURIComponent(channel)}`, {
      anonymous_clients: true,
      message_history: 100,
    });

    const seen: unknown[] = [];
    const resumed = Promise.withResolvers<object>();
    const caughtUp = Promise.withResolvers<void>();
    const online = Promise.withResolvers<void>();
    const subscriber = createClient({ url: server.url }).channel(channel);
    onTestFinished(() => subscriber.close());
    subscriber.on("event", ({ payload }) => seen.push(payload) === 4 && caughtUp.resolve());
    subscriber.on("status", (status) => status === "online" && online.resolve());
    subscriber.on("resumed", resumed.resolve);
    await online.promise;
    await publish(server, channel, "one");
    await publish(server, channel, "two");

    await server.kill();
    await server.run();
    expect(await publish(server, channel, "three")).toMatchObject({ seq: 3 });
    expect(await resumed.promise).toMatchObject({ complete: true });
    await publish(server, channel, "four");
    await caughtUp.promise;
    expect(seen).toEqual(["one", "two", "three", "four"]);
    expect((await history(server, channel)).messages.map(({ payload }) => payload)).toEqual(seen);
  });
});
