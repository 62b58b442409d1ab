import { describe, expect, it, onTestFinished } from "vitest";
import { MAX_UNCONFIRMED_CHARACTERS } from "../../src/channel/backpressure.ts";
import { call, everything, join, newChannel, newRoom, open, publish, target, type TestSocket } from "./support.ts";

const TEXT = "x".repeat(60_000);

async function joined(channel: string, options: object = {}): Promise<TestSocket> {
  const socket = await join(target(), channel, options);
  onTestFinished(() => socket.socket.terminate());
  return socket;
}

/** Publishes so many texts of 60 kB, in batches. */
async function flood(channel: string, count: number): Promise<void> {
  for (let sent = 0; sent < count; sent += 15) {
    const batch = Array.from({ length: Math.min(15, count - sent) }, () => ({ channel, message: TEXT }));
    expect((await call(target(), "POST", "/messages", batch)).status).toBe(200);
  }
}

describe("a client that reads nothing", () => {
  it("is closed with 1013 and then resumes, without affecting other clients (CON7, RES1)", async () => {
    const channel = newChannel();
    const [slow, quick] = [await joined(channel), await joined(channel)];
    const count = Math.ceil(MAX_UNCONFIRMED_CHARACTERS / TEXT.length) + 20;
    slow.socket.pause();
    // The other client keeps sending heartbeats, each only after the answer to the previous one (CON3).
    let received = 0;
    quick.send("ping");
    const reading = (async () => {
      while (received < count) {
        if ((await quick.text()) === "pong") quick.send("ping");
        else received += 1;
      }
    })();
    await flood(channel, count);
    await reading;
    slow.socket.resume();
    expect(await slow.close()).toEqual({ code: 1013, reason: "slow" });

    const seen = slow.texts.slice(1).map((text) => (JSON.parse(text) as { options: { seq: number } }).options.seq);
    expect(seen).toEqual(seen.map((_, index) => index + 1));
    expect(seen.length).toBeLessThan(count);
    const returned = await joined(channel, { after: seen.length });
    expect((await returned.frame()).options.seq).toBe(seen.length + 1);
  });
});

describe("a client of many channels that reads nothing", () => {
  async function joinedMultiplexed(channel: string, options: object = {}): Promise<TestSocket> {
    const socket = await open(target(), "/rt/x");
    onTestFinished(() => socket.socket.terminate());
    socket.send({ action: "join", options: { channel, ...options } });
    return socket;
  }

  it("is closed with 1013, so the Worker buffers no more for it, and then resumes (CON7, MUX1)", async () => {
    const channel = await newRoom(target());
    const slow = await joinedMultiplexed(channel);
    await slow.frame();
    slow.socket.pause();
    const count = Math.ceil(MAX_UNCONFIRMED_CHARACTERS / TEXT.length) + 20;
    await flood(channel, count);
    slow.socket.resume();
    expect(await slow.close()).toEqual({ code: 1013, reason: "slow" });

    const frames = slow.texts.map((text) => JSON.parse(text) as { action: string; options: { seq: number } });
    // Without the question that it left open (MUX7).
    const seen = frames.filter(({ action }) => action === "event").map(({ options }) => options.seq);
    expect(seen).toEqual(seen.map((_, index) => index + 1));
    expect(seen.length).toBeLessThan(count);
    const returned = await joinedMultiplexed(channel, { after: seen.length });
    expect(await returned.frame()).toMatchObject({ action: "join", options: { resumed: true } });
    expect((await returned.frame()).options.seq).toBe(seen.length + 1);
  });

  it("is closed because of the text of all its channels together", async () => {
    const channels = await Promise.all(Array.from({ length: 4 }, () => newRoom(target())));
    const [first = ""] = channels;
    const slow = await joinedMultiplexed(first);
    for (const channel of channels.slice(1)) slow.send({ action: "join", options: { channel } });
    await slow.frames(channels.length);
    slow.socket.pause();
    const each = Math.ceil(MAX_UNCONFIRMED_CHARACTERS / TEXT.length / channels.length) + 5;
    for (const channel of channels) await flood(channel, each);
    slow.socket.resume();
    expect(await slow.close()).toEqual({ code: 1013, reason: "slow" });
  });
});

describe("the answer to a heartbeat", () => {
  it("arrives after everything sent before it, so the next heartbeat confirms that text (CON3)", async () => {
    const channel = newChannel();
    const socket = await joined(channel);
    socket.socket.pause();
    await flood(channel, 30);
    socket.send("ping");
    await publish(target(), channel, "behind the heartbeat");
    expect(await everything(target(), channel)).toHaveLength(31);
    socket.socket.resume();
    for (let n = 0; n < 30; n++) expect((await socket.frame()).action).toBe("event");
    // Which of the two comes first is the network's affair; that nothing else comes before them is not.
    expect([await socket.text(), await socket.text()]).toContain("pong");
  });
});
