import { Backoff } from "./backoff.ts";
import { type ChannelError, isRetryable } from "./errors.ts";
import { newId } from "./ids.ts";
import type { Position } from "./messages.ts";
import { type Entry, Queue } from "./queue.ts";
import type { Server } from "./server.ts";

interface Publication extends Entry<Position | undefined> {
  /** The idempotency key. Null for an ephemeral message, which is not stored and sent at most once. */
  key: string | null;
}

/**
 * Publishes over HTTP, one message after the other, so that their order is kept. If the server cannot be reached or is busy,
 * the message is sent again with the same idempotency key until the server stores or refuses it. So it is stored once (IDM1).
 */
export class HttpPublisher {
  readonly #server: Server;
  readonly #queue = new Queue<Position | undefined, Publication>();
  readonly #backoff = new Backoff();
  #running = false;
  /** Ends the request that is under way. Undefined if it must not be sent again. */
  #request: AbortController | undefined;

  constructor(server: Server) {
    this.#server = server;
  }

  /** @param text The body, JSON. @param key The idempotency key of this message (IDM1). Null for an ephemeral message. */
  publish(text: string, key: string | null = newId()): Promise<Position | undefined> {
    const position = this.#queue.add({ text, key });
    if (!this.#running) void this.#run();
    return position;
  }

  /** Call this when a connection was lost. The request that is under way may have been on it, and is sent again. */
  interrupt(): void {
    this.#request?.abort();
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
    this.#request = entry.key === null ? undefined : new AbortController();
    try {
      entry.resolve(await postMessage(this.#server, entry.text, entry.key, this.#request?.signal));
    } catch (error) {
      const isLost = (error as ChannelError).code === "network" && entry.key === null;
      if (isRetryable(error as ChannelError) && !isLost) return this.#backoff.failed(error as ChannelError);
      entry.reject(error as ChannelError);
    }
    this.#backoff.succeeded();
    // If the channel was closed meanwhile, the queue is empty already.
    this.#queue.remove(entry);
  }
}

/**
 * Publishes a message over HTTP. Returns its position, or undefined if it is ephemeral.
 *
 * @param body JSON
 * @throws ChannelError
 */
export async function postMessage(
  server: Server,
  body: string,
  key: string | null,
  signal?: AbortSignal,
): Promise<Position | undefined> {
  const headers = { "Content-Type": "application/json", ...(key !== null && { "Idempotency-Key": key }) };
  const request = { method: "POST", headers, body, ...(signal && { signal }) } as const;
  const { seq, time } = await server.request<Partial<Position>>("/message", request);
  return seq === undefined || time === undefined ? undefined : { seq, time };
}
