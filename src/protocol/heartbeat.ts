/**
 * The texts of a heartbeat. The runtime itself answers the request with the response. That costs nothing and does not
 * wake the object, so a channel hibernates while its clients keep their connections alive.
 */
export const HEARTBEAT_REQUEST = "ping";
export const HEARTBEAT_RESPONSE = "pong";

/** The received text after which a client sends a heartbeat, in UTF-16 units, whatever the time (CON7). */
const HEARTBEAT_EVERY_CHARACTERS = 1024 * 1024;

/**
 * Sends a client's heartbeats. The next `ping` is sent only after the `pong`, so that each one confirms what was
 * received (CON3).
 */
export class Heartbeat {
  readonly #send: () => boolean;
  #waiting = false;
  #text = 0;

  /** @param send Sends the request. Returns whether the connection was open. */
  constructor(send: () => boolean) {
    this.#send = send;
  }

  /** Whether a `pong` is expected. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** Sends a heartbeat, unless a `pong` is expected. */
  beat(): void {
    if (this.#waiting || !this.#send()) return;
    this.#waiting = true;
    this.#text = 0;
  }

  /** Counts received text. Returns whether it was a `pong`, which the caller must not handle as a frame. */
  heard(text: string): boolean {
    const isAnswer = text === HEARTBEAT_RESPONSE;
    if (isAnswer) this.#waiting = false;
    this.#text += text.length;
    if (this.#text >= HEARTBEAT_EVERY_CHARACTERS) this.beat();
    return isAnswer;
  }

  /** Starts again, on a new connection. */
  reset(): void {
    this.#waiting = false;
  }
}
