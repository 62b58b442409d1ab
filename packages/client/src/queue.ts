import { ChannelError } from "./errors.ts";

/** The limits of the messages that wait to be sent. Characters are UTF-16 units of their JSON. */
export const MAX_QUEUED_MESSAGES = 1_000;
export const MAX_QUEUED_CHARACTERS = 4 * 1024 * 1024;

/** A message that waits until the server has accepted it, and the functions that settle its promise. */
export interface Entry<T> {
  /** The text that is sent. */
  text: string;
  resolve: (value: T) => void;
  reject: (error: ChannelError) => void;
}

/** The messages that wait until the server has accepted them, in order and within limits. */
export class Queue<T, E extends Entry<T> = Entry<T>> implements Iterable<E> {
  readonly #entries: E[] = [];
  #characters = 0;

  /** @throws ChannelError `queue-full` with the limit that was exceeded. */
  add(entry: Omit<E, "resolve" | "reject">): Promise<T> {
    const characters = this.#characters + entry.text.length;
    if (this.#entries.length >= MAX_QUEUED_MESSAGES) throw full("messages", MAX_QUEUED_MESSAGES);
    if (characters > MAX_QUEUED_CHARACTERS) throw full("characters", MAX_QUEUED_CHARACTERS);
    this.#characters = characters;
    return new Promise((resolve, reject) => this.#entries.push({ ...entry, resolve, reject } as unknown as E));
  }

  /** Iterates over a copy, so messages may be removed meanwhile. */
  [Symbol.iterator](): ArrayIterator<E> {
    return [...this.#entries].values();
  }

  /** The next message to send. */
  get first(): E | undefined {
    return this.#entries[0];
  }

  /** Removes a message, if it is still there. The caller settles its promise. */
  remove(entry: E): void {
    const at = this.#entries.indexOf(entry);
    if (at < 0) return;
    this.#entries.splice(at, 1);
    this.#characters -= entry.text.length;
  }

  /** Adds messages before all others, without regard to the limits. */
  prepend(entries: readonly E[]): void {
    this.#entries.unshift(...entries);
    for (const { text } of entries) this.#characters += text.length;
  }

  clear(): void {
    this.#entries.length = 0;
    this.#characters = 0;
  }

  rejectAll(error: ChannelError): void {
    for (const entry of this.#entries.splice(0)) entry.reject(error);
    this.#characters = 0;
  }
}

function full(what: string, limit: number): ChannelError {
  return new ChannelError(
    "queue-full",
    `At most ${limit} ${what} may wait to be sent. Send again when earlier messages have been sent.`,
    { limit },
  );
}
