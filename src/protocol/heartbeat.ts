/**
 * A client that sends this text gets the other back, from the runtime itself: the object is not woken and nothing is
 * billed, so a channel hibernates while its clients keep their connections alive.
 */
export const HEARTBEAT_REQUEST = "ping";
export const HEARTBEAT_RESPONSE = "pong";

/** After how much text received, in UTF-16 units, a client sends a heartbeat, whatever the time (CON7). */
const HEARTBEAT_EVERY_CHARACTERS = 1024 * 1024;

/** A client's side of the heartbeat: the next one only follows the answer to the last, so that it confirms (CON3). */
export class Heartbeat {
  readonly #send: () => boolean;
  #waiting = false;
  #text = 0;

  /** @param send Sends the request; answers whether there was a way to. */
  constructor(send: () => boolean) {
    this.#send = send;
  }

  /** Whether an answer is still to come. */
  get waiting(): boolean {
    return this.#waiting;
  }

  /** Sends a heartbeat, unless one is still to be answered. */
  beat(): void {
    if (this.#waiting || !this.#send()) return;
    this.#waiting = true;
    this.#text = 0;
  }

  /** Notes what was received; answers whether it was a heartbeat's answer, and so for nobody else. */
  heard(text: string): boolean {
    const isAnswer = text === HEARTBEAT_RESPONSE;
    if (isAnswer) this.#waiting = false;
    this.#text += text.length;
    if (this.#text >= HEARTBEAT_EVERY_CHARACTERS) this.beat();
    return isAnswer;
  }

  /** Begins anew, on a new connection. */
  reset(): void {
    this.#waiting = false;
  }
}
