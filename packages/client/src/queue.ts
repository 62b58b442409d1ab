import { ChannelError } from "./errors.ts";

/** The limits of the messages that wait to be sent. Characters are UTF-16 units of their JSON. */
export const MAX_QUEUED_MESSAGES = 1_000;
export const MAX_QUEUED_CHARACTERS = 4 * 1024 * 1024;

/** A message that waits to be sent, and the functions that settle its promise. */
export interface Entry<T> {
  /** The text that is sent. */
  text: string;
  resolve: (value: T) => void;
  reject: (error: ChannelError) => void;
}

/** The messages that wait to be sent, in order and within limits. */
export class Queue<T, E extends Entry<T> = Entry<T>> {
  readonly #entries: E[] = [];
  #text = 0;

  /** @throws ChannelError `queue-full` with the limit that was exceeded. */
  add(entry: Omit<E, "resolve" | "reject">): Promise<T> {
    const text = this.#text + entry.text.length;
    if (this.#entries.length >= MAX_QUEUED_MESSAGES) throw full("messages", MAX_QUEUED_MESSAGES);
    if (text > MAX_QUEUED_CHARACTERS) throw full("characters", MAX_QUEUED_CHARACTERS);
    this.#text = text;
    return new Promise((resolve, reject) => this.#entries.push({ ...entry, resolve, reject } as unknown as E));
  }

  /** The next message to send. */
  get first(): E | undefined {
    return this.#entries[0];
  }

  /** Removes the first message and returns it. The caller settles its promise. */
  take(): E | undefined {
    const entry = this.#entries.shift();
    this.#text -= entry?.text.length ?? 0;
    return entry;
  }

  rejectAll(error: ChannelError): void {
    for (let entry = this.take(); entry; entry = this.take()) entry.reject(error);
  }
}

function full(what: string, limit: number): ChannelError {
  return new ChannelError(
    "queue-full",
    `At most ${limit} ${what} may wait to be sent. Send again when earlier messages have been sent.`,
    { limit },
  );
}
