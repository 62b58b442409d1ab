import { Heartbeat, HEARTBEAT_REQUEST } from "../protocol/heartbeat.ts";

/** In milliseconds (CON7). */
const HEARTBEAT_EVERY = 20_000;

interface Line {
  /** Answers whether there was a way to send it. */
  send: (text: string) => boolean;
  reconnect: () => void;
}

/** Notices a connection that is dead though nobody closed it, and tells the server how far this client has read. */
export class Watch {
  readonly #line: Line;
  readonly #heartbeat: Heartbeat;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Whether anything was heard since the timer last went off. */
  #heard = false;

  constructor(line: Line) {
    this.#line = line;
    this.#heartbeat = new Heartbeat(() => line.send(HEARTBEAT_REQUEST));
  }

  /** Begins, or begins anew, on a connection that was just opened. */
  start(): void {
    this.stop();
    this.#heartbeat.reset();
    this.#timer = setInterval(() => this.#tick(), HEARTBEAT_EVERY);
  }

  /** Notes what was received; answers whether it was a heartbeat's answer. */
  heard(text: string): boolean {
    this.#heard = true;
    return this.#heartbeat.heard(text);
  }

  stop(): void {
    if (this.#timer !== undefined) clearInterval(this.#timer);
  }

  #tick(): void {
    if (!this.#heartbeat.waiting) this.#heartbeat.beat();
    else if (!this.#heard) this.#line.reconnect();
    this.#heard = false;
  }
}
