import { ChannelError } from "./errors.ts";

/** How many messages may wait to be sent, and how much text of theirs, in UTF-16 units. */
export const MAX_QUEUED_MESSAGES = 1_000;
export const MAX_QUEUED_CHARACTERS = 4 * 1024 * 1024;

/** Something that waits to be sent, and the promise of whoever sent it. */
export interface Entry<T> {
  /** What goes over the wire. */
  text: string;
  resolve: (value: T) => void;
  reject: (error: ChannelError) => void;
}

/** What waits to be sent, in order and within bounds. */
export class Queue<T, E extends Entry<T> = Entry<T>> {
  readonly #entries: E[] = [];
  #text = 0;

  /** @throws ChannelError `queue-full` with the bound, as the rejection of the promise. */
  add(entry: Omit<E, "resolve" | "reject">): Promise<T> {
    const text = this.#text + entry.text.length;
    if (this.#entries.length >= MAX_QUEUED_MESSAGES) throw full("messages", MAX_QUEUED_MESSAGES);
    if (text > MAX_QUEUED_CHARACTERS) throw full("characters", MAX_QUEUED_CHARACTERS);
    this.#text = text;
    return new Promise((resolve, reject) => this.#entries.push({ ...entry, resolve, reject } as unknown as E));
  }

  /** The one whose turn it is. */
  get first(): E | undefined {
    return this.#entries[0];
  }

  /** Takes the first one off; it is settled by whoever takes it. */
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
  return new ChannelError("queue-full", `At most ${limit} ${what} may wait to be sent.`, { limit });
}
