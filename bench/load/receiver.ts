import { MARK } from "../message.ts";
import type { Dialect } from "../peers.ts";
import { atOnce } from "./at-once.ts";
import { now } from "./clock.ts";
import { Subscriber } from "./subscriber.ts";

const NEEDLE = Buffer.from(MARK);
const COMMA = 0x2c;
/** Clients that connect at the same time. */
const AT_ONCE = 64;

/** Many subscribers of one channel, and what all of them received. */
export class Receiver {
  /** Messages received by all together. */
  messages = 0;
  /** WebSocket messages that brought them. */
  frames = 0;
  /** From when a message should have been sent until it was there, in microseconds; noted where asked for. */
  readonly latencies: number[] = [];
  readonly subscribers: Subscriber[] = [];
  readonly #timed: boolean;

  constructor(timed = false) {
    this.#timed = timed;
  }

  /** Opens so many more. @param open Opens the one with this number. */
  async open(
    count: number,
    open: (client: number, hear: (text: Buffer) => void) => Promise<Subscriber>,
  ): Promise<void> {
    const first = this.subscribers.length;
    await atOnce(AT_ONCE, count, async (n) => {
      this.subscribers.push(await open(first + n, (text) => this.#hear(text)));
    });
  }

  join(port: number, dialect: Dialect, channel: string, count: number): Promise<void> {
    return this.open(count, (client, hear) => Subscriber.open(port, dialect.subscribe(channel, client), hear));
  }

  /** Waits until so many messages were received in all. Answers whether they came within ten seconds. */
  async received(count: number): Promise<boolean> {
    const deadline = now() + 10_000_000;
    while (this.messages < count && now() < deadline) await new Promise((resolve) => setTimeout(resolve, 1));
    return this.messages >= count;
  }

  close(): void {
    for (const subscriber of this.subscribers.splice(0)) subscriber.close();
  }

  #hear(text: Buffer): void {
    this.frames += 1;
    for (let at = text.indexOf(NEEDLE); at >= 0; at = text.indexOf(NEEDLE, at + NEEDLE.length)) {
      this.messages += 1;
      if (this.#timed) this.latencies.push(now() - timeAt(text, at + NEEDLE.length));
    }
  }
}

/** The number that is written there. */
function timeAt(text: Buffer, start: number): number {
  let time = 0;
  for (let at = start; at < text.length && text[at] !== COMMA; at++) time = time * 10 + ((text[at] ?? 0) - 0x30);
  return time;
}
