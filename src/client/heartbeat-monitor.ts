import { Heartbeat, HEARTBEAT_REQUEST } from "../protocol/heartbeat.ts";

/** In milliseconds (CON7). */
const HEARTBEAT_INTERVAL_MS = 20_000;
/** For how many milliseconds a connection in doubt may be silent until it counts as dead. */
const DEAD_AFTER_MS = 3_000;
/** The same after the browser lost its network: until that is shown, and until the connection is dead once the network is back. */
const SILENT_AFTER_MS = 1_000;

interface Line {
  /** Answers whether there was a way to send it. */
  send: (text: string) => boolean;
  /** The browser lost its network, and nothing was received since. */
  silent: () => void;
  /** The connection was in doubt, and works. */
  works: () => void;
  dead: () => void;
}

/** A connection of which it is unknown whether it still works. */
interface Doubt {
  /** How many answers to heartbeats prove that it works: one that was on its way before proves nothing. */
  answers: number;
  /** Whether the browser has no network, by what it says. */
  isLost: boolean;
  silence: Countdown | undefined;
  death: Countdown;
}

/** Notices a connection that is dead though nobody closed it, and tells the server how far this client has read. */
export class HeartbeatMonitor {
  readonly #line: Line;
  readonly #heartbeat: Heartbeat;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Whether anything was heard since the timer last went off. */
  #heard = false;
  #doubt: Doubt | undefined;

  constructor(line: Line) {
    this.#line = line;
    this.#heartbeat = new Heartbeat(() => line.send(HEARTBEAT_REQUEST));
  }

  /** Whether the connection is being checked. Until then nothing should be sent that must not be sent twice. */
  get isInDoubt(): boolean {
    return this.#doubt !== undefined;
  }

  /** Begins, or begins anew, on a connection that was just opened. */
  start(): void {
    this.stop();
    this.#heartbeat.reset();
    this.#timer = setInterval(() => this.#tick(), HEARTBEAT_INTERVAL_MS);
  }

  /** Notes what was received; answers whether it was a heartbeat's answer. */
  heard(text: string): boolean {
    this.#heard = true;
    const isAnswer = this.#heartbeat.heard(text);
    if (this.#doubt) this.#hear(this.#doubt, isAnswer);
    return isAnswer;
  }

  /** Checks the connection after the browser lost its network. It may be wrong, or get it back in a moment. */
  networkLost(): void {
    const doubt = this.#startDoubt();
    if (doubt.isLost) return;
    doubt.isLost = true;
    doubt.death.restart(DEAD_AFTER_MS);
    doubt.silence ??= new Countdown(SILENT_AFTER_MS, () => this.#line.silent());
  }

  /** Checks the connection after the network changed, or after the page was shown again. */
  networkChanged(): void {
    const doubt = this.#startDoubt();
    if (!doubt.isLost) return;
    doubt.isLost = false;
    doubt.death.restart(SILENT_AFTER_MS);
  }

  stop(): void {
    if (this.#timer !== undefined) clearInterval(this.#timer);
    this.#endDoubt();
  }

  #tick(): void {
    if (!this.#heartbeat.waiting) this.#heartbeat.beat();
    else if (!this.#heard) this.#line.dead();
    this.#heard = false;
  }

  #startDoubt(): Doubt {
    this.#doubt ??= {
      answers: this.#heartbeat.waiting ? 2 : 1,
      isLost: false,
      silence: undefined,
      death: new Countdown(DEAD_AFTER_MS, () => this.#line.dead()),
    };
    this.#heartbeat.beat();
    return this.#doubt;
  }

  #hear(doubt: Doubt, isAnswer: boolean): void {
    if (isAnswer) doubt.answers -= 1;
    if (doubt.answers === 0) {
      this.#endDoubt();
      return this.#line.works();
    }
    if (isAnswer) this.#heartbeat.beat();
    // The answer may be slow behind much else.
    doubt.silence?.restart();
    doubt.death.restart();
  }

  #endDoubt(): void {
    this.#doubt?.silence?.stop();
    this.#doubt?.death.stop();
    this.#doubt = undefined;
  }
}

/** Calls a function after some time, unless it is stopped or restarted before. */
class Countdown {
  readonly #end: () => void;
  #milliseconds: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(milliseconds: number, end: () => void) {
    this.#end = end;
    this.#milliseconds = milliseconds;
    this.restart();
  }

  restart(milliseconds = this.#milliseconds): void {
    this.stop();
    this.#milliseconds = milliseconds;
    this.#timer = setTimeout(this.#end, milliseconds);
  }

  stop(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
  }
}
