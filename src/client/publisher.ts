import { type ChannelError, isRetryable } from "./errors.ts";
import type { Place } from "./messages.ts";
import { type Entry, Queue } from "./queue.ts";
import type { Server } from "./server.ts";

/** The first pause before sending again, and the longest, in milliseconds. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;

interface Publication extends Entry<Place> {
  key: string;
}

/**
 * Publishes by HTTP, one message behind the other so that their order is kept. What finds no server, or one that is busy,
 * is sent again by the same idempotency key until it is stored or refused: so each is stored once (IDM1).
 */
export class Publisher {
  readonly #server: Server;
  readonly #queue = new Queue<Place, Publication>();
  #running = false;
  /** Ends the pause before the next attempt. */
  #wake: (() => void) | undefined;

  constructor(server: Server) {
    this.#server = server;
  }

  /** @param text The body, JSON. @param key Stands for this message and no other (IDM1). */
  publish(text: string, key: string = newKey()): Promise<Place> {
    const place = this.#queue.add({ text, key });
    if (!this.#running) void this.#run();
    return place;
  }

  /** There is a connection again, so the next attempt need not wait. */
  wake(): void {
    this.#wake?.();
  }

  close(error: ChannelError): void {
    this.#queue.rejectAll(error);
    this.wake();
  }

  async #run(): Promise<void> {
    this.#running = true;
    let failures = 0;
    for (let entry = this.#queue.first; entry; entry = this.#queue.first) {
      const busy = await this.#attempt(entry);
      failures = busy ? failures + 1 : 0;
      if (busy) await this.#pause(busy, failures);
    }
    this.#running = false;
  }

  /** Sends it once; answers why it has to be sent again, if so. */
  async #attempt(entry: Publication): Promise<ChannelError | undefined> {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": entry.key };
    try {
      const { seq, time } = await this.#server.request<Place>("/message", {
        method: "POST",
        headers,
        body: entry.text,
      });
      entry.resolve({ seq, time });
    } catch (error) {
      if (isRetryable(error as ChannelError)) return error as ChannelError;
      entry.reject(error as ChannelError);
    }
    // Closed meanwhile, the queue has let go of it already.
    if (this.#queue.first === entry) this.#queue.take();
    return undefined;
  }

  /** As long as the server asks for; otherwise longer each time, by chance so that not all clients come back at once. */
  async #pause({ retryAfter }: ChannelError, failures: number): Promise<void> {
    const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures);
    const pause = retryAfter === undefined ? longest * (0.5 + Math.random() / 2) : retryAfter * 1_000;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pause);
      // Where the server named a time, a connection changes nothing.
      if (retryAfter !== undefined) return;
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

/** 128 bits by chance, as a UUID has; randomUUID is not there for pages that were loaded by plain HTTP. */
const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
