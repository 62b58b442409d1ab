import { type Identity, mayRead } from "../auth/policy.ts";

/** The text in a batch frame after which the batch is sent at once, in UTF-16 units. */
const MAX_BATCH_CHARACTERS = 256 * 1024;

/**
 * The sends that need no delay: per millisecond in the long run, and at once after a pause. A frame counts once per
 * socket. A send takes 15 to 40 µs, so the object has time for this many.
 */
const FREE_SENDS_PER_MS = 15;
const FREE_SENDS_AT_ONCE = 1_500;

/**
 * The delay of a batch under load, in milliseconds: per socket that gets it, and at most. The object then spends about
 * a tenth of its time on sending, and a third with thousands of sockets.
 */
const WINDOW_PER_SOCKET_MS = 0.2;
const MAX_WINDOW_MS = 100;

/** The properties of a socket that decide which frames it gets, and in which form. */
export interface Traits {
  identity: Identity;
  /** Whether the socket gets batch frames. */
  batch: boolean;
  /** Whether the settings allow it to receive messages. */
  receives: boolean;
  /** Whether it asked for presence, and the settings allow it. */
  presence: boolean;
}

/**
 * Sockets that get the same frames in the same form. Permissions are checked, and batches are encoded, once per
 * audience.
 */
class Audience {
  readonly traits: Traits;
  /** The sockets, each with the number of waiting frames that came before it joined. */
  readonly sockets = new Map<WebSocket, number>();
  readonly #waiting: string[] = [];
  #characters = 0;
  /** The frames that some sockets get instead of the waiting frames, by the index of those. */
  readonly #replaced = new Map<WebSocket, Map<number, string | null>>();

  constructor(traits: Traits) {
    this.traits = traits;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Whether a frame waits for this socket. Frames from before it joined do not. */
  hasWaitingFor(socket: WebSocket): boolean {
    return (this.sockets.get(socket) ?? Infinity) < this.#waiting.length;
  }

  add(socket: WebSocket): void {
    this.sockets.set(socket, this.#waiting.length);
  }

  /** Adds a frame to the next batch. Returns whether the batch is now large enough to be sent at once. */
  enqueue(frame: string): boolean {
    this.#waiting.push(frame);
    this.#characters += frame.length;
    return this.#characters >= MAX_BATCH_CHARACTERS;
  }

  /** Replaces the last waiting frame for one socket. */
  replaceLast(socket: WebSocket, frame: string | null): void {
    const replaced = this.#replaced.get(socket) ?? new Map<number, string | null>();
    replaced.set(this.#waiting.length - 1, frame);
    this.#replaced.set(socket, replaced);
  }

  /** Sends the waiting frames. Returns their number, counted once per socket. */
  flush(transmit: Transmit): number {
    const frames = this.#waiting.length * this.sockets.size;
    const batch = asBatch(this.#waiting);
    for (const [socket, from] of this.sockets) {
      if (from === 0 && !this.#replaced.has(socket)) {
        transmit(socket, batch);
        continue;
      }
      const own = this.#waitingFor(socket, from);
      if (own.length > 0) transmit(socket, asBatch(own));
      this.sockets.set(socket, 0);
    }
    this.#waiting.length = 0;
    this.#characters = 0;
    this.#replaced.clear();
    return frames;
  }

  /** Returns the waiting frames for one socket, from an index on. */
  #waitingFor(socket: WebSocket, from: number): string[] {
    const replaced = this.#replaced.get(socket);
    if (!replaced) return this.#waiting.slice(from);
    const own = this.#waiting.map((frame, index) => (replaced.has(index) ? replaced.get(index) : frame));
    return own.slice(from).filter((frame) => typeof frame === "string");
  }
}

/** The sockets that get another frame than the others: the frame, or null if they get none. */
export type Replaced = ReadonlyMap<WebSocket, string | null>;

/** The auth database to whose users a message is restricted, null if every client may read it. */
type Restriction = { database: string | null };

type Transmit = (socket: WebSocket, text: string) => void;

/**
 * Delivers frames to many sockets. A socket gets one WebSocket message per frame, or batch frames if it asked for them.
 *
 * A send costs more than a frame, so frames of one turn of the event loop share a batch. Under low load the batch is
 * sent at the end of the turn, without a delay. Under high load the next batch is delayed in proportion to the cost of
 * the previous batch.
 */
export class Fanout {
  readonly #transmit: Transmit;
  readonly #audiences = new Map<string, Audience>();
  readonly #audienceOf = new Map<WebSocket, Audience>();
  #isScheduled = false;
  /** The earliest time of the next batch, in milliseconds since the epoch. */
  #nextBatchAt = 0;
  /** The number of sends that still need no delay, and when it was computed, in milliseconds since the epoch. */
  #freeSends = FREE_SENDS_AT_ONCE;
  #freeSendsAt = 0;

  /** @param transmit Sends a text to one socket; never throws. */
  constructor(transmit: Transmit) {
    this.#transmit = transmit;
  }

  get size(): number {
    return this.#audienceOf.size;
  }

  has(socket: WebSocket): boolean {
    return this.#audienceOf.has(socket);
  }

  /** Returns the sockets whose traits match. */
  sockets(wanted: (traits: Traits) => boolean): WebSocket[] {
    return [...this.#audienceOf].flatMap(([socket, { traits }]) => (wanted(traits) ? socket : []));
  }

  /** Adds a socket, or changes its traits. The socket gets the frames that are delivered from now on. */
  add(socket: WebSocket, traits: Traits): void {
    this.flushFor(socket);
    this.remove(socket);
    const key = audienceKey(traits);
    let audience = this.#audiences.get(key);
    if (!audience) this.#audiences.set(key, (audience = new Audience(traits)));
    audience.add(socket);
    this.#audienceOf.set(socket, audience);
  }

  /** Removes a socket and the frames that wait for it. Returns whether it was there. */
  remove(socket: WebSocket): boolean {
    const audience = this.#audienceOf.get(socket);
    if (!audience) return false;
    audience.sockets.delete(socket);
    if (audience.sockets.size === 0) this.#audiences.delete(audienceKey(audience.traits));
    return this.#audienceOf.delete(socket);
  }

  /** Sends the frames that wait for a socket, so that frames sent directly to it arrive after them. */
  flushFor(socket: WebSocket): void {
    const audience = this.#audienceOf.get(socket);
    if (audience?.hasWaitingFor(socket)) audience.flush(this.#transmit);
  }

  /**
   * Delivers a message to all sockets that may read it. Returns their number.
   *
   * @param forServers The frame for API-key clients, if it differs.
   */
  message(frame: string, message: Restriction, replaced: Replaced = NONE, forServers = frame): number {
    let readers = 0;
    for (const audience of this.#audiencesOf(message)) {
      this.#deliver(audience.traits.identity.kind === "server" ? forServers : frame, audience, replaced);
      readers += audience.sockets.size;
    }
    return readers;
  }

  /** Delivers a presence update to all sockets that asked for presence. */
  presence(frame: string, replaced: Replaced = NONE): void {
    for (const audience of this.#watching()) this.#deliver(frame, audience, replaced);
  }

  /** Returns the sockets that may read a message. */
  readers(message: Restriction): WebSocket[] {
    return this.#audiencesOf(message).flatMap(socketsOf).toArray();
  }

  /** Whether any socket gets presence updates. */
  get isWatched(): boolean {
    return this.#watching().some(() => true);
  }

  /** Whether this socket gets presence updates. */
  watches(socket: WebSocket): boolean {
    return this.#audienceOf.get(socket)?.traits.presence === true;
  }

  /** Returns the sockets that get presence updates. */
  watchers(): WebSocket[] {
    return this.#watching().flatMap(socketsOf).toArray();
  }

  /** Whether `message` delivers this message to this socket. */
  reaches(socket: WebSocket, message: Restriction): boolean {
    const audience = this.#audienceOf.get(socket);
    return audience !== undefined && mayReceive(audience, message);
  }

  #audiencesOf(message: Restriction): IteratorObject<Audience> {
    return this.#audiences.values().filter((audience) => mayReceive(audience, message));
  }

  #watching(): IteratorObject<Audience> {
    return this.#audiences.values().filter(({ traits }) => traits.presence);
  }

  #deliver(frame: string, audience: Audience, replaced: Replaced): void {
    if (audience.traits.batch) return this.#deliverInBatch(frame, audience, replaced);
    for (const socket of audience.sockets.keys()) {
      const own = replaced.get(socket);
      if (own === undefined) this.#transmit(socket, frame);
      else if (own !== null) this.#transmit(socket, own);
    }
  }

  #deliverInBatch(frame: string, audience: Audience, replaced: Replaced): void {
    const isLarge = audience.enqueue(frame);
    for (const [socket, own] of replaced) if (audience.sockets.has(socket)) audience.replaceLast(socket, own);
    if (isLarge) this.#flush();
    else this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const delayMs = this.#nextBatchAt - Date.now();
    // If the clock stepped back, the computed delay is too long: send now.
    if (delayMs < 1 || delayMs > MAX_WINDOW_MS) queueMicrotask(() => this.#flush());
    else setTimeout(() => this.#flush(), delayMs);
  }

  #flush(): void {
    this.#isScheduled = false;
    let [sockets, frames] = [0, 0];
    for (const audience of this.#audiences.values()) {
      if (!audience.hasWaiting) continue;
      frames += audience.flush(this.#transmit);
      sockets += audience.sockets.size;
    }
    if (frames > 0) this.#pace(sockets, frames);
  }

  /** Computes the time of the next batch from what was just sent. */
  #pace(sockets: number, frames: number): void {
    const now = Date.now();
    const earned = Math.max(0, now - this.#freeSendsAt) * FREE_SENDS_PER_MS;
    this.#freeSends = Math.max(-FREE_SENDS_AT_ONCE, Math.min(FREE_SENDS_AT_ONCE, this.#freeSends + earned) - frames);
    this.#freeSendsAt = now;
    this.#nextBatchAt = this.#freeSends > 0 ? now : now + Math.min(MAX_WINDOW_MS, sockets * WINDOW_PER_SOCKET_MS);
  }
}

function mayReceive({ traits: { receives, identity } }: Audience, message: Restriction): boolean {
  return receives && mayRead(identity, message);
}

const NONE: Replaced = new Map();

const socketsOf = ({ sockets }: Audience) => sockets.keys();

/** Returns a batch frame: the frames as one JSON array. */
export function asBatch(frames: readonly string[]): string {
  return `[${frames.join(",")}]`;
}

/** Yields batch frames, each not much larger than `MAX_BATCH_CHARACTERS`. */
export function* batchesOf(frames: Iterable<string>): Generator<string> {
  let batch: string[] = [];
  let characters = 0;
  for (const frame of frames) {
    batch.push(frame);
    characters += frame.length;
    if (characters < MAX_BATCH_CHARACTERS) continue;
    yield asBatch(batch);
    [batch, characters] = [[], 0];
  }
  if (batch.length > 0) yield asBatch(batch);
}

/** Returns the same key for sockets of one audience. Of the identity only its kind and a user's database matter. */
function audienceKey({ identity, batch, receives, presence }: Traits): string {
  return JSON.stringify([identity.kind, identity.kind === "user" && identity.database, batch, receives, presence]);
}
