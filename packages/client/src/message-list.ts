import type { Client } from "../../../src/protocol/frames.ts";
import type { ChannelError } from "./errors.ts";
import type { Message, Position } from "./messages.ts";

/** A message of a channel, or one that this client is sending. */
export interface MessageEntry<Payload = unknown> {
  /** Identifies the entry in a list. It stays the same when a message that is being sent becomes a stored one. */
  key: string;
  /**
   * - `pending`: it is being sent, or waits for a connection.
   * - `sent`: it is stored.
   * - `failed`: it was not sent; `error` says why.
   */
  state: "pending" | "sent" | "failed";
  action: "event" | "message";
  /** The sender, if it is known. */
  client?: Client | undefined;
  /** `seq` and `time` are undefined until the message is stored. */
  options: Partial<Position> & { channel: string; type?: string | undefined; id?: string | undefined };
  payload: Payload;
  error?: ChannelError | undefined;
}

/** A message of this client that has not arrived from the server yet. */
interface OwnEntry<Payload> extends MessageEntry<Payload> {
  options: MessageEntry<Payload>["options"] & { id: string };
}

/** The latest messages of a channel in the order of `seq`, and after them the messages that this client is sending. */
export class MessageList<Payload> {
  #stored: MessageEntry<Payload>[] = [];
  #own: OwnEntry<Payload>[] = [];

  /** The last stored message's `seq`. */
  get last(): number | undefined {
    return this.#stored.at(-1)?.options.seq;
  }

  /** Returns a new array. @param keep How many stored messages to keep. */
  entries(keep: number): readonly MessageEntry<Payload>[] {
    this.#stored = this.#stored.slice(-keep);
    return [...this.#stored, ...this.#own];
  }

  /** Notes a message that was delivered, in the order of `seq`. It may be one that this client has sent. */
  delivered(message: Message<Payload>): void {
    const { seq, id } = message.options;
    const own = this.#own.find(({ options }) => options.seq === seq || options.id === id);
    if (own) this.#remove(own);
    this.#stored.push({ ...message, key: own?.key ?? `${seq}`, state: "sent" });
  }

  /** Adds a message that is being sent. */
  add(entry: OwnEntry<Payload>): void {
    this.#own.push(entry);
  }

  /** Notes that a sent message was stored. The server may have delivered it before. */
  confirmed(id: string, position: Position): void {
    const own = this.#find(id);
    if (own && this.#stored.some(({ options }) => options.seq === position.seq)) this.#remove(own);
    else this.#change(id, { state: "sent", options: { ...own?.options, ...position } as OwnEntry<Payload>["options"] });
  }

  failed(id: string, error: ChannelError): void {
    this.#change(id, { state: "failed", error });
  }

  retried(id: string): void {
    this.#change(id, { state: "pending", error: undefined });
  }

  /** Removes a message that is not stored. */
  discard(key: string): void {
    this.#own = this.#own.filter((entry) => entry.key !== key);
  }

  #find(id: string): OwnEntry<Payload> | undefined {
    return this.#own.find(({ options }) => options.id === id);
  }

  #change(id: string, change: Partial<OwnEntry<Payload>>): void {
    this.#own = this.#own.map((entry) => (entry.options.id === id ? { ...entry, ...change } : entry));
  }

  #remove(entry: OwnEntry<Payload>): void {
    this.#own = this.#own.filter((other) => other !== entry);
  }
}
