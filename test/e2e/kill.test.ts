import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createClient } from "../../packages/client/src/client.ts";
import { Checker, sightingsIn } from "../support/checker.ts";
import { KILLS, KILLS_WHILE_SENDING, STORM } from "../support/scale.ts";
import { Server } from "../support/server.ts";
import { everything, join, newRoom, publish } from "./support.ts";

const PUBLISHERS = 8;
const SUBSCRIBERS = 3;
const SENDERS = 4;
const HISTORY = { message_history: 1000 };

/** Sends a message until it is acknowledged, always by the same key, whatever happens to the server meanwhile. */
async function publishSurely(server: Server, channel: string, message: string): Promise<number> {
  const headers = {
    Authorization: `Bearer ${server.apiKey}`,
    "Content-Type": "application/json",
    "Idempotency-Key": message,
  };
  const body = JSON.stringify({ channel, message });
  for (;;) {
    const answer = await fetch(`${server.url}/message`, { method: "POST", headers, body }).catch(() => undefined);
    if (answer?.status === 201) {
      const place = await answer.json().catch(() => undefined);
      if (place !== undefined) return (place as { seq: number }).seq;
    } else if (answer && answer.status < 500) {
      throw new Error(`${answer.status} ${await answer.text()}`);
    }
    await pause(20);
  }
}

describe("a server that is killed in the middle of a burst", () => {
  it(`loses no message, stores none twice, and keeps the order: ${KILLS} times`, { timeout: 900_000 }, async () => {
    const server = await Server.start();
    onTestFinished(() => server.remove());
    const channel = await newRoom(server, HISTORY);
    const checker = new Checker();

    const notes = Array.from({ length: SUBSCRIBERS }, () => {
      const notebook = checker.subscriber();
      const subscriber = createClient({ url: server.url }).channel(channel);
      onTestFinished(() => subscriber.close());
      subscriber.on("event", ({ options, payload }) => notebook.saw({ seq: options.seq, message: String(payload) }));
      subscriber.on("resumed", ({ complete }) => complete || notebook.gap());
      return notebook;
    });

    const stop = new AbortController();
    const publishers = Array.from({ length: PUBLISHERS }, async (_, publisher) => {
      for (let n = 0; !stop.signal.aborted; n++) {
        const message = `${publisher}.${n}`;
        checker.acknowledge(await publishSurely(server, channel, message), message);
      }
    });
    for (let kill = 0; kill < KILLS; kill++) {
      const before = checker.acknowledged;
      await vi.waitUntil(() => checker.acknowledged > before + 50, { timeout: 60_000 });
      await pause(Math.random() * 400);
      await server.kill();
      await server.run();
    }
    stop.abort();
    await Promise.all(publishers);

    const last = await publishSurely(server, channel, "last");
    checker.acknowledge(last, "last");
    await vi.waitUntil(() => notes.every((notebook) => notebook.seen().at(-1)?.seq === last), { timeout: 60_000 });
    await vi.waitUntil(() => server.archive(channel).length >= last, { timeout: 60_000 });
    const archive = sightingsIn(server.archive(channel));
    const history = await everything(server, channel);
    console.log(`kills ${KILLS}, acknowledged ${checker.acknowledged}, in history ${history.length}`);
    expect(checker.faults(history, archive)).toEqual([]);
    expect(history).toHaveLength(checker.acknowledged);
  });
});

describe("a server that is killed while clients send over sockets", () => {
  it(
    `acknowledges no message that it loses, and stores none twice: ${KILLS_WHILE_SENDING} times`,
    { timeout: 900_000 },
    async () => {
      const server = await Server.start();
      onTestFinished(() => server.remove());
      const channel = await newRoom(server, { ...HISTORY, public_messaging: { active: true } });
      const checker = new Checker();
      const stop = new AbortController();
      const sent = { count: 0 };
      // Below the rate that one sender may keep up (LIM12), with several messages in flight.
      const sending = Array.from({ length: SENDERS }, async (_, sender) => {
        const client = createClient({ url: server.url }).channel<string>(channel);
        onTestFinished(() => client.close());
        const answers: Promise<void>[] = [];
        for (let n = 0; !stop.signal.aborted; n++) {
          const message = `${sender}.${n}`;
          sent.count += 1;
          answers.push(client.send(message).then(({ seq }) => checker.acknowledge(seq, message)));
          await pause(100);
        }
        await Promise.all(answers);
      });
      for (let kill = 0; kill < KILLS_WHILE_SENDING; kill++) {
        const before = checker.acknowledged;
        await vi.waitUntil(() => checker.acknowledged > before + 50, { timeout: 60_000 });
        await pause(Math.random() * 400);
        await server.kill();
        await server.run();
      }
      stop.abort();
      await Promise.all(sending);

      await vi.waitUntil(() => server.archive(channel).length >= checker.acknowledged, { timeout: 60_000 });
      const history = await everything(server, channel);
      console.log(
        `kills ${KILLS_WHILE_SENDING}, sent ${sent.count}, acknowledged ${checker.acknowledged}, in history ${history.length}`,
      );
      expect(checker.faults(history, sightingsIn(server.archive(channel)))).toEqual([]);
      expect([checker.acknowledged, history.length]).toEqual([sent.count, sent.count]);
      for (let sender = 0; sender < SENDERS; sender++) {
        const numbers = history.flatMap(({ message }) => {
          const [from, number] = message.split(".").map(Number);
          return from === sender ? number : [];
        });
        expect(numbers.length).toBeGreaterThan(0);
        expect(numbers).toEqual(numbers.map((_, index) => index));
      }
    },
  );
});

describe("a server to which all clients reconnect at once", () => {
  it(`sends each of ${STORM} clients its missed messages before new ones (RES1)`, { timeout: 300_000 }, async () => {
    const server = await Server.start();
    onTestFinished(() => server.remove());
    const [channel, checker] = [await newRoom(server, HISTORY), new Checker()];
    const connectAll = async (after: number) => {
      const sockets = await Promise.all(Array.from({ length: STORM }, () => join(server, channel, { after })));
      onTestFinished(() => sockets.forEach(({ socket }) => socket.terminate()));
      return sockets;
    };
    const sockets = await connectAll(0);
    checker.acknowledge((await publish(server, channel, "seen by all")).seq, "seen by all");
    await Promise.all(sockets.map((socket) => socket.frame()));
    await server.kill();
    await server.run();
    for (let n = 0; n < 100; n++)
      checker.acknowledge((await publish(server, channel, `missed ${n}`)).seq, `missed ${n}`);
    const returned = connectAll(1);
    checker.acknowledge((await publish(server, channel, "new")).seq, "new");
    for (const socket of await returned) {
      const notebook = checker.subscriber();
      expect(socket.answer.options.resumed).toBe(true);
      for (const { options, payload } of await socket.frames(101)) notebook.saw({ seq: options.seq, message: payload });
      expect(notebook.seen()[0]?.seq).toBe(2);
    }
    await vi.waitUntil(() => server.archive(channel).length >= 102, { timeout: 60_000 });
    const archive = sightingsIn(server.archive(channel));
    expect(checker.faults(await everything(server, channel), archive)).toEqual([]);
  });
});
