/** Text that a client may be behind before it is closed, in UTF-16 units: what the object would have to hold for it. */
export const MAX_UNCONFIRMED_CHARACTERS = 8 * 1024 * 1024;

/** How long a client that keeps a heartbeat may be silent, in milliseconds, before it counts as gone. */
export const HEARTBEAT_TIMEOUT_MS = 90_000;

/** How much is broadcast, or how much time passes, between two looks at the heartbeats. */
const CHECK_EVERY_CHARACTERS = 512 * 1024;
const CHECK_EVERY_MS = 30_000;
/** How much one client is sent alone between two looks at its heartbeats. */
const CHECK_EVERY_OWN_CHARACTERS = 64 * 1024;

/** What is known of how far one client has read. Amounts of text count from when it was added. */
interface Reader {
  /** Whether it gets what is broadcast. */
  joined: boolean;
  /** Sent to it alone, corrected for what was broadcast while it had not joined. */
  own: number;
  /** Its last heartbeat that was seen, 0 where there was none. */
  heartbeat: number;
  /** How much had been sent when its heartbeats were last looked at. */
  looked: number;
  /** How much will be confirmed by its next heartbeat. */
  next: number;
  /** How much it has surely read. */
  confirmed: number;
}

/** Why a client has to go: it reads too slowly, or its heartbeat stopped. */
export type Verdict = "slow" | "gone";

/**
 * Tells the clients that fell too far behind, or are gone, from the others: by their heartbeats, which cost nothing.
 *
 * A client sends a heartbeat only after the answer to its previous one (CON3), and that answer waits in line behind
 * all that was sent before it. So each new heartbeat confirms what had been sent before the one before. The socket
 * itself cannot say it: workerd does not implement `bufferedAmount`.
 *
 * The object forgets this when it hibernates, which it only does after ten quiet seconds; counting then starts again.
 */
export class Backpressure<Socket> {
  readonly #readers = new Map<Socket, Reader>();
  readonly #heartbeatOf: (socket: Socket) => number;
  #broadcast = 0;
  /** At first as if never: an object that wakes every half minute must look all the same. */
  #lookedAt = { text: 0, time: -Infinity };

  /** @param heartbeatOf When a socket's last heartbeat came, in milliseconds since the epoch, 0 where none did. */
  constructor(heartbeatOf: (socket: Socket) => number) {
    this.#heartbeatOf = heartbeatOf;
  }

  add(socket: Socket): void {
    const heartbeat = this.#heartbeatOf(socket);
    this.#readers.set(socket, { joined: false, own: 0, heartbeat, looked: 0, next: 0, confirmed: 0 });
  }

  remove(socket: Socket): void {
    this.#readers.delete(socket);
  }

  /** From now on what is broadcast goes to this reader, too, or no longer. */
  setJoined(socket: Socket, joined: boolean): void {
    const reader = this.#readers.get(socket);
    if (!reader || reader.joined === joined) return;
    reader.joined = joined;
    reader.own += joined ? -this.#broadcast : this.#broadcast;
  }

  /** Notes what was sent to every reader that joined. */
  broadcast(amount: number): void {
    this.#broadcast += amount;
  }

  /** Notes what was sent to one; answers whether it is time to look at it. */
  sent(socket: Socket, amount: number): boolean {
    const reader = this.#readers.get(socket);
    if (!reader) return false;
    reader.own += amount;
    return this.#sentTo(reader) - reader.looked >= CHECK_EVERY_OWN_CHARACTERS;
  }

  /** Whether it is time to look at everyone. */
  isDue(now: number): boolean {
    return (
      this.#broadcast - this.#lookedAt.text >= CHECK_EVERY_CHARACTERS ||
      Math.abs(now - this.#lookedAt.time) >= CHECK_EVERY_MS
    );
  }

  /** Looks at all readers; those with a verdict are for the caller to close. */
  check(now: number): [Socket, Verdict][] {
    this.#lookedAt = { text: this.#broadcast, time: now };
    const verdicts: [Socket, Verdict][] = [];
    for (const socket of this.#readers.keys()) {
      const verdict = this.checkOne(socket, now);
      if (verdict) verdicts.push([socket, verdict]);
    }
    return verdicts;
  }

  /**
   * Returns when the first of the readers will be gone unless it sends a heartbeat, in milliseconds since the epoch; Infinity
   * when none of them has ever sent one.
   */
  nextGone(): number {
    return this.#readers
      .keys()
      .map((socket) => this.#heartbeatOf(socket))
      .filter((heartbeat) => heartbeat > 0)
      .reduce((first, heartbeat) => Math.min(first, heartbeat + HEARTBEAT_TIMEOUT_MS + 1), Infinity);
  }

  /** Looks at one reader. */
  checkOne(socket: Socket, now: number): Verdict | undefined {
    const reader = this.#readers.get(socket);
    if (!reader) return undefined;
    const heartbeat = this.#heartbeatOf(socket);
    const sent = this.#sentTo(reader);
    if (heartbeat !== reader.heartbeat) {
      reader.confirmed = reader.next;
      reader.next = reader.looked;
      reader.heartbeat = heartbeat;
    }
    reader.looked = sent;
    if (sent - reader.confirmed > MAX_UNCONFIRMED_CHARACTERS) return "slow";
    return heartbeat > 0 && now - heartbeat > HEARTBEAT_TIMEOUT_MS ? "gone" : undefined;
  }
  #sentTo({ own, joined }: Reader): number {
    return own + (joined ? this.#broadcast : 0);
  }
}
