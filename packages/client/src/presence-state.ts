import type { ChannelError } from "./errors.ts";

/** A call of `setPresence` whose state the server has not confirmed. */
interface Call {
  resolve: () => void;
  reject: (error: ChannelError) => void;
}

/**
 * This client's state among the members. The server forgets it when the connection is lost, so the client sends it after each
 * join. While a state is on its way or there is no connection, only the latest newer state waits.
 */
export class PresenceState {
  readonly #announce: (state: string) => Promise<unknown>;
  /** The latest state, JSON. Undefined if there is none to announce. */
  #state: string | undefined;
  /** The last state that the server confirmed. */
  #confirmed: string | undefined;
  #calls: Call[] = [];
  #isOpen = false;
  /** Whether a state is on its way. */
  #isBusy = false;
  /** Whether the server may not have the latest state. */
  #isDue = false;

  /** @param announce Sends a state. Rejects with `unconfirmed` or `network` if the connection is lost. */
  constructor(announce: (state: string) => Promise<unknown>) {
    this.#announce = announce;
  }

  /** Resolves when the server has confirmed this state or a later one. @param state JSON */
  set(state: string): Promise<void> {
    this.#state = state;
    this.#isDue = true;
    const confirmed = new Promise<void>((resolve, reject) => this.#calls.push({ resolve, reject }));
    void this.#send();
    return confirmed;
  }

  /** Call this after each join. */
  open(): void {
    this.#isOpen = true;
    this.#isDue = this.#state !== undefined;
    void this.#send();
  }

  /** Call this when the connection is lost. */
  interrupt(): void {
    this.#isOpen = false;
  }

  close(error: ChannelError): void {
    this.interrupt();
    this.#state = undefined;
    for (const { reject } of this.#calls.splice(0)) reject(error);
  }

  async #send(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#isOpen && this.#isDue && this.#state !== undefined) await this.#attempt(this.#state);
    this.#isBusy = false;
  }

  async #attempt(state: string): Promise<void> {
    const calls = this.#calls.splice(0);
    this.#isDue = false;
    try {
      await this.#announce(state);
      this.#confirmed = state;
      for (const { resolve } of calls) resolve();
    } catch (reason) {
      const error = reason as ChannelError;
      if (error.code === "unconfirmed" || error.code === "network") {
        this.#isDue = true;
        this.#calls.unshift(...calls);
      } else {
        // The server keeps the state that it had before.
        if (!this.#isDue) this.#state = this.#confirmed;
        for (const { reject } of calls) reject(error);
      }
    }
  }
}
