import { MARK } from "../message.ts";
import type { Dialect } from "../peers.ts";
import { atOnce } from "./at-once.ts";
import { now } from "./clock.ts";
import { Subscriber } from "./subscriber.ts";

const NEEDLE = Buffer.from(MARK);
const COMMA = 0x2c;
/** How many clients connect at the same time. */
const CONCURRENT_CONNECTS = 64;

/** Many subscribers of one channel. Counts the messages that they receive. */
export class Receiver {
  /** The number of messages that all subscribers received. */
  messages = 0;
  /** The number of WebSocket messages that contained them. */
  frames = 0;
  /** The times from a message's planned sending to its arrival. Recorded only if `isTimed` is set. */
  readonly latenciesUs: number[] = [];
  readonly subscribers: Subscriber[] = [];
  readonly #isTimed: boolean;

  constructor(isTimed = false) {
    this.#isTimed = isTimed;
  }

  /** Opens more subscribers. @param open Opens the subscriber with a number. */
  async open(
    count: number,
    open: (client: number, receive: (text: Buffer) => void) => Promise<Subscriber>,
  ): Promise<void> {
    const first = this.subscribers.length;
    await atOnce(CONCURRENT_CONNECTS, count, async (n) => {
      this.subscribers.push(await open(first + n, (text) => this.#receive(text)));
    });
  }

  join(port: number, dialect: Dialect, channel: string, count: number): Promise<void> {
    return this.open(count, (client, receive) => Subscriber.open(port, dialect.subscribe(channel, client), receive));
  }

  /** Waits until `count` messages have been received in total. Returns whether they arrived within ten seconds. */
  async received(count: number): Promise<boolean> {
    const deadline = now() + 10_000_000;
    while (this.messages < count && now() < deadline) await new Promise((resolve) => setTimeout(resolve, 1));
    return this.messages >= count;
  }

  close(): void {
    for (const subscriber of this.subscribers.splice(0)) subscriber.close();
  }

  #receive(text: Buffer): void {
    this.frames += 1;
    for (let at = text.indexOf(NEEDLE); at >= 0; at = text.indexOf(NEEDLE, at + NEEDLE.length)) {
      this.messages += 1;
      if (this.#isTimed) this.latenciesUs.push(now() - timeAt(text, at + NEEDLE.length));
    }
  }
}

/** Returns the number that is written at a position, in microseconds. */
function timeAt(text: Buffer, start: number): number {
  let time = 0;
  for (let at = start; at < text.length && text[at] !== COMMA; at++) time = time * 10 + ((text[at] ?? 0) - 0x30);
  return time;
}
