import { Backoff } from "./backoff.ts";
import { type ChannelError, isRetryable } from "./errors.ts";
import type { Position } from "./messages.ts";
import { type Entry, Queue } from "./queue.ts";
import type { Server } from "./server.ts";

interface Publication extends Entry<Position> {
  key: string;
}

/**
 * Publishes by HTTP, one message behind the other so that their order is kept. What finds no server, or one that is busy,
 * is sent again by the same idempotency key until it is stored or refused: so each is stored once (IDM1).
 */
export class Publisher {
  readonly #server: Server;
  readonly #queue = new Queue<Position, Publication>();
  readonly #backoff = new Backoff();
  #running = false;

  constructor(server: Server) {
    this.#server = server;
  }

  /** @param text The body, JSON. @param key Stands for this message and no other (IDM1). */
  publish(text: string, key: string = newKey()): Promise<Position> {
    const place = this.#queue.add({ text, key });
    if (!this.#running) void this.#run();
    return place;
  }

  /** There is a connection again, so the next attempt need not wait. */
  wake(): void {
    this.#backoff.wake();
  }

  close(error: ChannelError): void {
    this.#queue.rejectAll(error);
    this.#backoff.end();
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let entry = this.#queue.first; entry; entry = this.#queue.first) {
      await this.#backoff.pause();
      // The channel may have been closed during the pause.
      if (this.#queue.first === entry) await this.#attempt(entry);
    }
    this.#running = false;
  }

  /** Sends it once. What has to be sent again stays in the queue. */
  async #attempt(entry: Publication): Promise<void> {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": entry.key };
    try {
      const { seq, time } = await this.#server.request<Position>("/message", {
        method: "POST",
        headers,
        body: entry.text,
      });
      entry.resolve({ seq, time });
    } catch (error) {
      if (isRetryable(error as ChannelError)) return this.#backoff.failed(error as ChannelError);
      entry.reject(error as ChannelError);
    }
    this.#backoff.succeeded();
    // If the channel was closed meanwhile, the queue is empty already.
    if (this.#queue.first === entry) this.#queue.take();
  }
}

/** 128 bits by chance, as a UUID has; randomUUID is not there for pages that were loaded by plain HTTP. */
const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
