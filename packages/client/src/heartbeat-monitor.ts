import { Heartbeat, HEARTBEAT_REQUEST } from "../../../src/protocol/heartbeat.ts";

/** CON7 */
const HEARTBEAT_INTERVAL_MS = 20_000;
/** A connection in doubt counts as dead after this much silence. */
const DEAD_AFTER_MS = 3_000;
/**
 * After the browser has lost its network: the silence until the channel shows `offline`. Once the network is back: the
 * silence until the connection counts as dead.
 */
const SILENT_AFTER_MS = 1_000;

interface HeartbeatMonitorDeps {
  /** Returns whether the text was sent. */
  send: (text: string) => boolean;
  /** Called when the browser has lost its network and nothing was received since. */
  silent: () => void;
  /** Called when a connection that was in doubt has proved to work. */
  works: () => void;
  /** Called when the connection is dead. */
  dead: () => void;
}

/** The state of a connection while it is in doubt: it may no longer work. */
interface Doubt {
  /** How many heartbeat answers are needed. An answer to an earlier heartbeat may have been on its way already and proves nothing. */
  answers: number;
  /** Whether the browser reports that it has no network. */
  isLost: boolean;
  silence: Countdown | undefined;
  death: Countdown;
}

/** Detects a connection that died without being closed. Its heartbeats also confirm to the server how much this client has read. */
export class HeartbeatMonitor {
  readonly #deps: HeartbeatMonitorDeps;
  readonly #heartbeat: Heartbeat;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Whether anything was received since the timer last fired. */
  #hasReceived = false;
  #doubt: Doubt | undefined;

  constructor(deps: HeartbeatMonitorDeps) {
    this.#deps = deps;
    this.#heartbeat = new Heartbeat(() => deps.send(HEARTBEAT_REQUEST));
  }

  /** Whether the connection is being checked. Meanwhile, don't send anything that must not be sent twice. */
  get isInDoubt(): boolean {
    return this.#doubt !== undefined;
  }

  /** Starts to monitor a connection that was just opened. */
  start(): void {
    this.stop();
    this.#heartbeat.reset();
    this.#timer = setInterval(() => this.#tick(), HEARTBEAT_INTERVAL_MS);
  }

  /** Notes a received text. Returns whether it was the answer to a heartbeat. */
  received(text: string): boolean {
    this.#hasReceived = true;
    const isAnswer = this.#heartbeat.heard(text);
    if (this.#doubt) this.#updateDoubt(this.#doubt, isAnswer);
    return isAnswer;
  }

  /** Checks the connection after the browser reported that it has no network. The browser may be wrong, or soon be online again. */
  networkLost(): void {
    const doubt = this.#startDoubt();
    if (doubt.isLost) return;
    doubt.isLost = true;
    doubt.death.restart(DEAD_AFTER_MS);
    doubt.silence ??= new Countdown(SILENT_AFTER_MS, () => this.#deps.silent());
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
    else if (!this.#hasReceived) this.#deps.dead();
    this.#hasReceived = false;
  }

  #startDoubt(): Doubt {
    this.#doubt ??= {
      answers: this.#heartbeat.waiting ? 2 : 1,
      isLost: false,
      silence: undefined,
      death: new Countdown(DEAD_AFTER_MS, () => this.#deps.dead()),
    };
    this.#heartbeat.beat();
    return this.#doubt;
  }

  #updateDoubt(doubt: Doubt, isAnswer: boolean): void {
    if (isAnswer) doubt.answers -= 1;
    if (doubt.answers === 0) {
      this.#endDoubt();
      return this.#deps.works();
    }
    if (isAnswer) this.#heartbeat.beat();
    // The answer may be late, because other frames are ahead of it.
    doubt.silence?.restart();
    doubt.death.restart();
  }

  #endDoubt(): void {
    this.#doubt?.silence?.stop();
    this.#doubt?.death.stop();
    this.#doubt = undefined;
  }
}

/** Calls a function after some time, unless it is stopped before. `restart` begins the time again. */
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
