import { Backoff } from "./backoff.ts";
import { type ChannelError, isRetryable } from "./errors.ts";
import type { Position } from "./messages.ts";
import { type Entry, Queue } from "./queue.ts";
import type { Server } from "./server.ts";

interface Publication extends Entry<Position> {
  key: string;
}

/**
 * Publishes over HTTP, one message after the other, so that their order is kept. If the server cannot be reached or is busy,
 * the message is sent again with the same idempotency key until the server stores or refuses it. So it is stored once (IDM1).
 */
export class Publisher {
  readonly #server: Server;
  readonly #queue = new Queue<Position, Publication>();
  readonly #backoff = new Backoff();
  #running = false;

  constructor(server: Server) {
    this.#server = server;
  }

  /** @param text The body, JSON. @param key The idempotency key of this message (IDM1). */
  publish(text: string, key: string = newKey()): Promise<Position> {
    const position = this.#queue.add({ text, key });
    if (!this.#running) void this.#run();
    return position;
  }

  /** Call this when there is a connection again. The next attempt is then made at once. */
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

  /** Sends a message once. If it has to be sent again, it stays in the queue. */
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

/** Returns 128 random bits. `crypto.randomUUID` is missing on pages that were loaded over plain HTTP. */
const newKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-");
