import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { connect, history, join, newOpenChannel, publish, stubOf } from "./support.ts";

describe("hibernation", () => {
  it("keeps the sockets and what they joined (CON4)", async () => {
    const channel = await newOpenChannel();
    const subscriber = await join(channel);
    await evictDurableObject(stubOf(channel));
    const { seq } = await publish(channel, "you are still here");
    expect(await subscriber.frame()).toMatchObject({
      action: "event",
      options: { seq },
      payload: "you are still here",
    });
  });

  it("keeps a client's identity", async () => {
    const channel = await newOpenChannel();
    const sender = await connect(channel);
    sender.send({ action: "join" });
    const { client } = await sender.frame();
    await evictDurableObject(stubOf(channel));
    sender.send({ action: "message", payload: "me again" });
    expect((await sender.frame()).client).toEqual(client);
  });

  it("delivers nothing to a socket that had not joined, or had left (JOI1, JOI5)", async () => {
    const channel = await newOpenChannel();
    const [visitor, leaver] = [await connect(channel), await join(channel)];
    leaver.send({ action: "leave" });
    expect(await leaver.frame()).toEqual({ action: "leave", options: { channel }, payload: null });
    await evictDurableObject(stubOf(channel));
    await publish(channel, "not for you");
    for (const socket of [visitor, leaver]) {
      socket.send({ action: "history" });
      expect((await socket.frame()).action).toBe("history");
    }
  });

  it("continues the numbering (ORD1)", async () => {
    const channel = await newOpenChannel();
    for (const seq of [1, 2, 3]) {
      expect((await publish(channel, seq)).seq).toBe(seq);
      await evictDurableObject(stubOf(channel));
    }
    expect((await history(channel)).messages.map(({ payload }) => payload)).toEqual([1, 2, 3]);
  });

  it("answers a heartbeat without waking the object (CON3)", async () => {
    const channel = await newOpenChannel();
    const socket = await connect(channel);
    await evictDurableObject(stubOf(channel));
    socket.send("ping");
    expect(await socket.text()).toBe("pong");
    // Evicting what sleeps is refused: so the heartbeat has left it asleep.
    await expect(evictDurableObject(stubOf(channel))).rejects.toThrow();
  });

  it("lets clients resume whose sockets the runtime had to close (RES1)", async () => {
    const channel = await newOpenChannel();
    const subscriber = await join(channel);
    await publish(channel, "one");
    const last = await subscriber.frame();
    await evictDurableObject(stubOf(channel), { webSockets: "close" });
    await subscriber.close();
    await publish(channel, "two");
    const returned = await join(channel, { after: last.options.seq });
    expect((await returned.frame()).payload).toBe("two");
  });

  it("closes a socket whose connection failed with 1011, and forgets it (PRE4)", async () => {
    const channel = await newOpenChannel({ presence: true });
    const [failing, watcher] = [await join(channel), await join(channel, {}, { presence: true })];
    await watcher.frame();
    await runInDurableObject(stubOf(channel), (instance, state) => {
      instance.webSocketError(state.getWebSockets(`id:${failing.client.socketId}`)[0] as WebSocket);
    });
    expect((await failing.close()).code).toBe(1011);
    expect((await watcher.frame()).payload).toEqual({ action: "leave", presence: failing.client });
  });

  it("forgets a socket that its client closed", async () => {
    const channel = await newOpenChannel();
    const [leaver, witness] = [await join(channel), await join(channel)];
    leaver.socket.close(1000, "bye");
    expect(await leaver.close()).toMatchObject({ code: 1000 });
    await publish(channel, "after");
    expect((await witness.frame()).payload).toBe("after");
    const open = await runInDurableObject(stubOf(channel), (_, state) => state.getWebSockets().length);
    expect(open).toBe(1);
  });
});
