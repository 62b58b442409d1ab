/**
 * The unconfirmed text at which a client counts as slow, in UTF-16 units. The object has to hold this text in memory.
 */
export const MAX_UNCONFIRMED_CHARACTERS = 8 * 1024 * 1024;

/**
 * The unconfirmed text from which a client gets no ephemeral messages, and no long answers, in UTF-16 units. A client
 * that sends a heartbeat after each mebibyte (CON7) stays below it, except after a long answer.
 */
const MANY_UNCONFIRMED_CHARACTERS = MAX_UNCONFIRMED_CHARACTERS / 2;

/** The time after its last heartbeat at which a client counts as gone. Clients that never sent one never do. */
export const HEARTBEAT_TIMEOUT_MS = 90_000;

/** All heartbeats are checked after this much broadcast text, in UTF-16 units, or after this time. */
const CHECK_EVERY_CHARACTERS = 512 * 1024;
const CHECK_EVERY_MS = 30_000;
/** One client's heartbeats are checked after this much text that was sent to it alone, in UTF-16 units. */
const CHECK_EVERY_OWN_CHARACTERS = 64 * 1024;

/** What is known about one client. Amounts of text are in UTF-16 units, and count from when the client was added. */
interface Reader {
  /** Whether it gets broadcasts. */
  joined: boolean;
  /** Text sent to it alone, corrected for the broadcasts that it did not get because it had not joined. */
  sentAlone: number;
  /** The time of its last known heartbeat, 0 if there was none. */
  heartbeat: number;
  /** Text sent until the last check of its heartbeats. */
  sentAtCheck: number;
  /** Text that its next heartbeat will confirm. */
  nextConfirmed: number;
  /** Text that it has certainly read. */
  confirmed: number;
}

/** Why a client must be closed: it reads too slowly, or its heartbeats stopped. */
export type Verdict = "slow" | "gone";

/**
 * Finds slow clients and clients that are gone, by their heartbeats, which cost nothing.
 *
 * A client sends its next `ping` only after the `pong` (CON3), and the `pong` arrives after everything that was sent
 * before it. So each `ping` confirms everything sent before the previous `ping`. The sockets themselves cannot report
 * this: workerd does not implement `bufferedAmount`.
 *
 * The object loses these counts when it hibernates, which it does only after ten quiet seconds. Counting then starts
 * again.
 */
export class Backpressure<Socket> {
  readonly #readers = new Map<Socket, Reader>();
  readonly #heartbeatOf: (socket: Socket) => number;
  #broadcast = 0;
  /**
   * The last check of all clients: the broadcast text and the time. Initially infinitely long ago, so that an object
   * that wakes every half minute checks, too.
   */
  #lastCheck = { broadcast: 0, time: -Infinity };

  /**
   * @param heartbeatOf Returns the time of a socket's last heartbeat, in milliseconds since the epoch; 0 if there was
   *   none.
   */
  constructor(heartbeatOf: (socket: Socket) => number) {
    this.#heartbeatOf = heartbeatOf;
  }

  add(socket: Socket): void {
    const heartbeat = this.#heartbeatOf(socket);
    this.#readers.set(socket, {
      joined: false,
      sentAlone: 0,
      heartbeat,
      sentAtCheck: 0,
      nextConfirmed: 0,
      confirmed: 0,
    });
  }

  remove(socket: Socket): void {
    this.#readers.delete(socket);
  }

  /** Sets whether this client gets broadcasts from now on. */
  setJoined(socket: Socket, joined: boolean): void {
    const reader = this.#readers.get(socket);
    if (!reader || reader.joined === joined) return;
    reader.joined = joined;
    reader.sentAlone += joined ? -this.#broadcast : this.#broadcast;
  }

  /** Counts text sent to every client that gets broadcasts. */
  broadcast(amount: number): void {
    this.#broadcast += amount;
  }

  /** Counts text sent to one client. Returns whether to check this client now. */
  sent(socket: Socket, amount: number): boolean {
    const reader = this.#readers.get(socket);
    if (!reader) return false;
    reader.sentAlone += amount;
    return this.#sentTo(reader) - reader.sentAtCheck >= CHECK_EVERY_OWN_CHARACTERS;
  }

  /** Whether to check all clients now. */
  isDue(now: number): boolean {
    return (
      this.#broadcast - this.#lastCheck.broadcast >= CHECK_EVERY_CHARACTERS ||
      Math.abs(now - this.#lastCheck.time) >= CHECK_EVERY_MS
    );
  }

  /** Checks all clients. Returns those that the caller must close, with the reason. */
  check(now: number): [Socket, Verdict][] {
    this.#lastCheck = { broadcast: this.#broadcast, time: now };
    const verdicts: [Socket, Verdict][] = [];
    for (const socket of this.#readers.keys()) {
      const verdict = this.checkOne(socket, now);
      if (verdict) verdicts.push([socket, verdict]);
    }
    return verdicts;
  }

  /** Whether a client has so much unconfirmed text that it gets nothing that it can do without. */
  isBehind(socket: Socket): boolean {
    const reader = this.#readers.get(socket);
    if (!reader || this.#sentTo(reader) - reader.confirmed <= MANY_UNCONFIRMED_CHARACTERS) return false;
    // Its last heartbeat may not have been counted yet.
    this.checkOne(socket, Date.now());
    return this.#sentTo(reader) - reader.confirmed > MANY_UNCONFIRMED_CHARACTERS;
  }

  /**
   * Returns the time at which the first client will be gone unless it sends a heartbeat, in milliseconds since the
   * epoch; Infinity if no client has ever sent one.
   */
  nextGone(): number {
    return this.#readers
      .keys()
      .map((socket) => this.#heartbeatOf(socket))
      .filter((heartbeat) => heartbeat > 0)
      .reduce((first, heartbeat) => Math.min(first, heartbeat + HEARTBEAT_TIMEOUT_MS + 1), Infinity);
  }

  /** Checks one client. Returns why it must be closed, undefined if it must not. */
  checkOne(socket: Socket, now: number): Verdict | undefined {
    const reader = this.#readers.get(socket);
    if (!reader) return undefined;
    const heartbeat = this.#heartbeatOf(socket);
    const sent = this.#sentTo(reader);
    if (heartbeat !== reader.heartbeat) {
      reader.confirmed = reader.nextConfirmed;
      reader.nextConfirmed = reader.sentAtCheck;
      reader.heartbeat = heartbeat;
    }
    reader.sentAtCheck = sent;
    if (sent - reader.confirmed > MAX_UNCONFIRMED_CHARACTERS) return "slow";
    return heartbeat > 0 && now - heartbeat > HEARTBEAT_TIMEOUT_MS ? "gone" : undefined;
  }

  #sentTo({ sentAlone, joined }: Reader): number {
    return sentAlone + (joined ? this.#broadcast : 0);
  }
}
