import { evictDurableObject, runDurableObjectAlarm } from "cloudflare:test";
import fc from "fast-check";
import { expect, it } from "vitest";
import { MODEL_RUNS } from "../support/scale.ts";
import { Checker } from "../support/checker.ts";
import {
  bringBack,
  call,
  faultsOf,
  history,
  join,
  newOpenChannel,
  stubOf,
  takeAway,
  type TestSocket,
} from "./support.ts";

/** The channel as it should be: what was published, in order. */
interface Model {
  messages: string[];
  d1: "up" | "down";
}

/** The channel as it is, with two subscribers that come and go. */
class Real {
  readonly checker = new Checker();
  readonly subscribers: Subscriber[];

  constructor(readonly channel: string) {
    this.subscribers = [new Subscriber(channel, this.checker), new Subscriber(channel, this.checker)];
  }
}

class Subscriber {
  readonly #notes;
  #socket: TestSocket | undefined;

  constructor(
    readonly channel: string,
    checker: Checker,
  ) {
    this.#notes = checker.subscriber();
  }

  get last(): number {
    return this.#notes.seen().at(-1)?.seq ?? 0;
  }

  async resume(): Promise<void> {
    this.#socket ??= await join(this.channel, { after: this.last });
  }

  async disconnect(): Promise<void> {
    this.#socket?.socket.close(1000);
    await this.cut();
  }

  /** Notes what came before the connection ended. */
  async cut(): Promise<void> {
    if (!this.#socket) return;
    await this.#socket.close();
    while (this.#socket.pending > 0) await this.#note(this.#socket);
    this.#socket = undefined;
  }

  /** Waits until it has seen the channel up to a `seq`. */
  async catchUp(seq: number): Promise<void> {
    await this.resume();
    while (this.#socket && this.last < seq) await this.#note(this.#socket);
  }

  async #note(socket: TestSocket): Promise<void> {
    const { options, payload } = await socket.frame();
    this.#notes.saw({ seq: options.seq, message: payload });
  }
}

type Command = fc.AsyncCommand<Model, Real>;

/** A command that is always possible, named for the report. */
function command(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return { check: () => true, run, toString: () => name };
}

const publish = (count: number): Command =>
  command(`publish(${count})`, async (model, { channel, checker }) => {
    const messages = Array.from({ length: count }, (_, n) => `message ${model.messages.length + n}`);
    const answer = await call(
      "POST",
      "/messages",
      messages.map((message) => ({ channel, message })),
    );
    const { results } = await answer.json<{ results: { status: number; seq: number }[] }>();
    for (const [index, message] of messages.entries()) {
      expect(results[index]).toMatchObject({ status: 201, seq: model.messages.push(message) });
      checker.acknowledge(model.messages.length, message);
    }
  });

const evict = (webSockets: "hibernate" | "close"): Command =>
  command(`evict(${webSockets})`, async (_, { channel, subscribers }) => {
    await history(channel, "?limit=1"); // Only what is awake can be evicted.
    await evictDurableObject(stubOf(channel), { webSockets });
    if (webSockets === "close") for (const subscriber of subscribers) await subscriber.cut();
  });

const resume = (who: number): Command => command(`resume(${who})`, async (_, real) => real.subscribers[who]?.resume());
const disconnect = (who: number): Command =>
  command(`disconnect(${who})`, async (_, real) => real.subscribers[who]?.disconnect());

const catchUp = (who: number): Command =>
  command(`catchUp(${who})`, async (model, real) => real.subscribers[who]?.catchUp(model.messages.length));

const archive = command("archive", async (_, { channel }) => {
  await runDurableObjectAlarm(stubOf(channel));
});

const d1 = (to: Model["d1"]): Command => command(`d1(${to})`, (model) => switchD1(model, to));

async function switchD1(model: Model, to: Model["d1"]): Promise<void> {
  if (model.d1 === to) return;
  await (to === "down" ? takeAway("messages") : bringBack("messages"));
  model.d1 = to;
}

const readHistory = (limit: number): Command =>
  command(`readHistory(${limit})`, async (model, { channel }) => {
    const latest = await history(channel, `?limit=${limit}`);
    expect(latest.messages.map(({ payload }) => payload)).toEqual(model.messages.slice(-limit));
  });

const commands = fc.commands(
  [
    fc.integer({ min: 1, max: 30 }).map(publish),
    fc.constantFrom<"hibernate" | "close">("hibernate", "close").map(evict),
    fc.nat(1).map(resume),
    fc.nat(1).map(disconnect),
    fc.nat(1).map(catchUp),
    fc.constant(archive),
    fc.constantFrom<Model["d1"]>("up", "down").map(d1),
    fc.integer({ min: 1, max: 50 }).map(readHistory),
  ],
  { maxCommands: 40 },
);

it("whatever happens in whatever order, all promises hold", { timeout: 600_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(commands, async (script) => {
      const real = new Real(await newOpenChannel());
      const model: Model = { messages: [], d1: "up" };
      try {
        await history(real.channel); // The channel has begun: its numbering does not depend on D1 any more.
        await fc.asyncModelRun(() => ({ model, real }), script);
      } finally {
        await switchD1(model, "up");
      }
      for (const subscriber of real.subscribers) await subscriber.catchUp(model.messages.length);
      expect(await faultsOf(real.checker, real.channel)).toEqual([]);
      for (const subscriber of real.subscribers) await subscriber.disconnect();
    }),
    { numRuns: MODEL_RUNS },
  );
});
