import { ChannelError } from "./errors.ts";
import type { Message, Position } from "./messages.ts";
import { type Entry, Queue } from "./queue.ts";

/** How long a message may be without its echo while there is a connection, in milliseconds. */
const ECHO_TIMEOUT_MS = 30_000;

interface Outgoing extends Entry<Position | undefined> {
  /** The payload's JSON, by which its echo is known. */
  payload: string;
  /** For one client alone: neither stored nor echoed. */
  isPrivate: boolean;
}

/**
 * Sends messages over the socket. That carries no key, so what may have been stored is never sent again: the echo, with its
 * `seq`, says that a message was stored. One is sent behind the echo of the other, so that order is kept and an `error`
 * frame can be told to whom it belongs.
 */
export class Outbox {
  readonly #transmit: (frame: string) => boolean;
  readonly #queue = new Queue<Position | undefined, Outgoing>();
  /** This client's id on the channel; undefined while it has not joined. */
  #socketId: string | undefined;
  /** The id by which the queue's first was sent, where that waits for its echo. */
  #sentAs: string | undefined;
  /** The last echo: a message may be noted when it arrives and once more when it is delivered. */
  #lastEcho: { socketId: string; seq: number } | undefined;
  /** Private messages sent since the last echo: an `error` frame may be for one of them. */
  #privates = 0;
  /** Ends the waiting for an echo, or for the server to take more. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #paused = false;

  /** @param transmit Answers whether there was a connection to send it over. */
  constructor(transmit: (frame: string) => boolean) {
    this.#transmit = transmit;
  }

  /** Resolves to the message's place once its echo is here; a private one's to undefined, once it is on its way. */
  send(message: Pick<Outgoing, "text" | "payload" | "isPrivate">): Promise<Position | undefined> {
    const place = this.#queue.add(message);
    this.#next();
    return place;
  }

  /** @param isResuming Whether `resumed` follows: until then the echo may be among what was missed, however long that takes. */
  joined(socketId: string, isResuming: boolean): void {
    this.#socketId = socketId;
    this.#privates = 0;
    if (this.#sentAs === undefined) this.#next();
    else if (!isResuming) this.#expectEcho();
  }

  /** The connection takes messages again. */
  wake(): void {
    this.#next();
  }

  /** The connection is lost. Whether what was sent over it was stored will be seen from what was missed. */
  interrupt(): void {
    this.#socketId = undefined;
    if (!this.#paused) this.#stopTimer();
  }

  /** All that was missed is here; what was sent over the lost connection and is not among it has no echo to come. */
  resumed(): void {
    if (this.#sentAs !== undefined && this.#sentAs !== this.#socketId) this.#giveUp();
  }

  /** Notes a stored message, once or twice: it may be the echo of the one that was sent. */
  stored({ action, client, options: { seq, time }, payload }: Message): void {
    if (this.#sentAs === undefined || action !== "message" || client?.socketId !== this.#sentAs) return;
    if (this.#lastEcho?.socketId === this.#sentAs && seq <= this.#lastEcho.seq) return;
    if (JSON.stringify(payload) !== this.#queue.first?.payload) return;
    this.#lastEcho = { socketId: this.#sentAs, seq };
    this.#privates = 0;
    this.#settle()?.resolve({ seq, time });
  }

  /** Notes an `error` frame, which answers the oldest message not answered yet; answers whether that is seen to here. */
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

  /** What was refused was not stored (ERR3), so it may be sent again. */
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
    const message = "The message was sent, but whether it was stored is not known.";
    this.#settle()?.reject(new ChannelError("unconfirmed", message));
  }

  /** Ends the waiting for an echo; answers what it was for. The next one's turn has come. */
  #settle(): Outgoing | undefined {
    this.#stopTimer();
    this.#sentAs = undefined;
    const entry = this.#queue.take();
    this.#next();
    return entry;
  }
}
