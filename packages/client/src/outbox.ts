import { ChannelError } from "./errors.ts";
import type { Message, Position } from "./messages.ts";
import { type Entry, Queue } from "./queue.ts";

/** How long the outbox waits for the echo of a message while there is a connection. */
const ECHO_TIMEOUT_MS = 30_000;

interface Outgoing extends Entry<Position | undefined> {
  /** The payload's JSON, which identifies the echo. */
  payload: string;
  /** Whether the message is for one client only. The server neither stores nor echoes such a message. */
  isPrivate: boolean;
}

/**
 * Sends messages over the socket. A frame has no idempotency key, so a message that the server may have stored is never sent
 * again. The echo, with its `seq`, confirms that a message was stored. Each message waits for the echo of the previous one:
 * this keeps the order, and shows which message an `error` frame is about.
 */
export class Outbox {
  readonly #transmit: (frame: string) => boolean;
  readonly #queue = new Queue<Position | undefined, Outgoing>();
  /** This client's id on the channel. Undefined while it has not joined. */
  #socketId: string | undefined;
  /** The `socketId` that sent the first message of the queue. Undefined if no message waits for its echo. */
  #sentAs: string | undefined;
  /** The last echo. The same echo may be noted twice: when it arrives and when it is delivered. */
  #lastEcho: { socketId: string; seq: number } | undefined;
  /** How many private messages were sent since the last echo. An `error` frame may be about one of them. */
  #privates = 0;
  /** Ends the wait for an echo, or the pause that a `rate-limited` error asked for. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #paused = false;

  /** @param transmit Sends a frame. Returns false if there is no connection. */
  constructor(transmit: (frame: string) => boolean) {
    this.#transmit = transmit;
  }

  /** Resolves to the message's position once its echo has arrived. For a private message, to undefined once it is sent. */
  send(message: Pick<Outgoing, "text" | "payload" | "isPrivate">): Promise<Position | undefined> {
    const position = this.#queue.add(message);
    this.#next();
    return position;
  }

  /** @param isResuming Whether `resumed()` follows. Until then the echo may be one of the missed messages, so no timeout runs. */
  joined(socketId: string, isResuming: boolean): void {
    this.#socketId = socketId;
    this.#privates = 0;
    if (this.#sentAs === undefined) this.#next();
    else if (!isResuming) this.#expectEcho();
  }

  /** Call this when the connection can send messages again. */
  wake(): void {
    this.#next();
  }

  /** Call this when the connection is lost. The missed messages will show whether the sent message was stored. */
  interrupt(): void {
    this.#socketId = undefined;
    if (!this.#paused) this.#stopTimer();
  }

  /** Call this when all missed messages have arrived. If the sent message is not one of them, its echo will not arrive. */
  resumed(): void {
    if (this.#sentAs !== undefined && this.#sentAs !== this.#socketId) this.#giveUp();
  }

  /** Notes a stored message, once or twice. It may be the echo of the sent message. */
  stored({ action, client, options: { seq, time }, payload }: Message): void {
    if (this.#sentAs === undefined || action !== "message" || client?.socketId !== this.#sentAs) return;
    if (this.#lastEcho?.socketId === this.#sentAs && seq <= this.#lastEcho.seq) return;
    if (JSON.stringify(payload) !== this.#queue.first?.payload) return;
    this.#lastEcho = { socketId: this.#sentAs, seq };
    this.#privates = 0;
    this.#settle()?.resolve({ seq, time });
  }

  /** Notes an `error` frame, which is about the oldest unanswered message. Returns whether that message's promise handles it. */
  refused(error: ChannelError): boolean {
    if (this.#privates > 0) this.#privates -= 1;
    else if (this.#sentAs !== undefined) {
      if (error.code === "rate-limited") this.#sendAgain(error.retryAfter ?? 1);
      else this.#settle()?.reject(error);
      return true;
    }
    return false;
  }

  close(error: ChannelError): void {
    this.#socketId = undefined;
    this.#stopTimer();
    if (this.#sentAs !== undefined) this.#giveUp();
    this.#queue.rejectAll(error);
  }

  #next(): void {
    while (this.#socketId !== undefined && this.#sentAs === undefined && !this.#paused) {
      const { first } = this.#queue;
      if (!first || !this.#transmit(first.text)) return;
      if (first.isPrivate) {
        this.#privates += 1;
        this.#queue.take()?.resolve(undefined);
      } else {
        this.#sentAs = this.#socketId;
        this.#expectEcho();
      }
    }
  }

  #expectEcho(): void {
    this.#timer = setTimeout(() => this.#giveUp(), ECHO_TIMEOUT_MS);
  }

  #stopTimer(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
  }

  /** Sends the first message again after a pause. The server refused it, so it did not store it (ERR3). */
  #sendAgain(seconds: number): void {
    this.#stopTimer();
    this.#sentAs = undefined;
    this.#paused = true;
    this.#timer = setTimeout(() => {
      this.#paused = false;
      this.#next();
    }, seconds * 1_000);
  }

  #giveUp(): void {
    const message = "The message was sent, but it is unknown whether the server stored it.";
    this.#settle()?.reject(new ChannelError("unconfirmed", message));
  }

  /** Ends the wait for an echo and sends the next message. Returns the message that waited. */
  #settle(): Outgoing | undefined {
    this.#stopTimer();
    this.#sentAs = undefined;
    const entry = this.#queue.take();
    this.#next();
    return entry;
  }
}
