import { type Identity, mayRead } from "../auth/policy.ts";

/** Text of frames, in UTF-16 units, after which a batch goes out whatever the time. */
const MAX_BATCH_TEXT = 256 * 1024;

/**
 * How many frames a millisecond may go out as they come, each counted once for each socket that gets it, and how many at once
 * after a pause. A send takes some 15 to 40 µs: up to here the object has the time for it.
 */
const FREE_RATE = 15;
const FREE_BURST = 1_500;

/**
 * How long frames wait for each other where there are more, in milliseconds: for each socket that gets them, and at most. So
 * about a tenth of the object's time goes into sending, and with thousands of sockets a third of it.
 */
const WINDOW_PER_SOCKET = 0.2;
const MAX_WINDOW = 100;

/** What decides which frames a socket gets, and how. */
export interface Traits {
  identity: Identity;
  /** Whether frames come to it in arrays. */
  batch: boolean;
  /** Whether the settings let it receive messages. */
  receives: boolean;
  /** Whether it wants to know who comes and goes, and may. */
  presence: boolean;
}

/** Sockets that get the same frames in the same way: what they may see is decided, and encoded, once for all of them. */
class Audience {
  readonly traits: Traits;
  /** Each with how many of the waiting frames came before it joined. */
  readonly sockets = new Map<WebSocket, number>();
  readonly #waiting: string[] = [];
  #text = 0;

  constructor(traits: Traits) {
    this.traits = traits;
  }

  get waits(): boolean {
    return this.#waiting.length > 0;
  }

  /** Whether something waits for this socket: what came before it joined does not. */
  waitsFor(socket: WebSocket): boolean {
    return (this.sockets.get(socket) ?? Infinity) < this.#waiting.length;
  }

  add(socket: WebSocket): void {
    this.sockets.set(socket, this.#waiting.length);
  }

  /** Keeps a frame for the next batch; answers whether that has become large enough to go out at once. */
  wait(frame: string): boolean {
    this.#waiting.push(frame);
    this.#text += frame.length;
    return this.#text >= MAX_BATCH_TEXT;
  }

  /** Sends what waits. Answers how many frames that was, counted for each socket. */
  flush(transmit: Transmit): number {
    const frames = this.#waiting.length * this.sockets.size;
    const whole = asBatch(this.#waiting);
    for (const [socket, from] of this.sockets) {
      if (from === 0) transmit(socket, whole);
      else if (from < this.#waiting.length) transmit(socket, asBatch(this.#waiting.slice(from)));
      if (from > 0) this.sockets.set(socket, 0);
    }
    this.#waiting.length = 0;
    this.#text = 0;
    return frames;
  }
}

/** The auth database whose users alone may read a message, null where everybody may. */
type Restriction = { database: string | null };

type Transmit = (socket: WebSocket, text: string) => void;

/**
 * Brings frames to many sockets. One frame is one WebSocket message, or for sockets that asked for batches one of several
 * in an array.
 *
 * A send costs more than a frame: so frames that come in one turn share a batch. As long as sending is no burden that batch goes
 * out at once, and nothing is added to any frame's time. Where more is said, the next batch waits for a time in proportion to
 * what the last one cost.
 */
export class Fanout {
  readonly #transmit: Transmit;
  readonly #audiences = new Map<string, Audience>();
  readonly #audienceOf = new Map<WebSocket, Audience>();
  #isScheduled = false;
  /** When the next batch may go out, in milliseconds since the epoch. */
  #opensAt = 0;
  /** How many frames may still go out as they come, and when that was so. */
  #free = FREE_BURST;
  #freeAt = 0;

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

  /** The sockets whose traits are asked for. */
  sockets(wanted: (traits: Traits) => boolean): WebSocket[] {
    return [...this.#audienceOf].flatMap(([socket, { traits }]) => (wanted(traits) ? socket : []));
  }

  /** Adds a socket, or changes its traits. It gets what is brought from now on. */
  add(socket: WebSocket, traits: Traits): void {
    this.settle(socket);
    this.remove(socket);
    const key = keyOf(traits);
    let audience = this.#audiences.get(key);
    if (!audience) this.#audiences.set(key, (audience = new Audience(traits)));
    audience.add(socket);
    this.#audienceOf.set(socket, audience);
  }

  /** Removes a socket, and with it what waits for it. Answers whether it was there. */
  remove(socket: WebSocket): boolean {
    const audience = this.#audienceOf.get(socket);
    if (!audience) return false;
    audience.sockets.delete(socket);
    if (audience.sockets.size === 0) this.#audiences.delete(keyOf(audience.traits));
    return this.#audienceOf.delete(socket);
  }

  /** Sends what waits for a socket, so that what it is sent now comes behind it. */
  settle(socket: WebSocket): void {
    const audience = this.#audienceOf.get(socket);
    if (audience?.waitsFor(socket)) audience.flush(this.#transmit);
  }

  /** Brings a message to all who may read it; answers how many those are. */
  message(frame: string, message: Restriction): number {
    let readers = 0;
    for (const audience of this.#audiencesOf(message)) {
      this.#bring(frame, audience);
      readers += audience.sockets.size;
    }
    return readers;
  }

  /** Brings news of who came or went to all who want to know, but for those that are left out. */
  presence(frame: string, except: ReadonlyMap<WebSocket, unknown> = NONE): void {
    for (const audience of this.#watching()) this.#bring(frame, audience, except);
  }

  /** The sockets that may read a message. */
  readers(message: Restriction): WebSocket[] {
    return this.#audiencesOf(message).flatMap(socketsOf).toArray();
  }

  /** Whether any socket wants to know who joins and leaves. */
  get isWatched(): boolean {
    return this.#watching().some(() => true);
  }

  /** Whether this socket wants to know who comes and goes. */
  watches(socket: WebSocket): boolean {
    return this.#audienceOf.get(socket)?.traits.presence === true;
  }

  /** The sockets that want to know who comes and goes. */
  watchers(): WebSocket[] {
    return this.#watching().flatMap(socketsOf).toArray();
  }

  /** Whether `message` brings a message to this socket. */
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

  #bring(frame: string, audience: Audience, except: ReadonlyMap<WebSocket, unknown> = NONE): void {
    if (audience.traits.batch) return this.#bringLater(frame, audience, except);
    for (const socket of audience.sockets.keys()) if (!except.has(socket)) this.#transmit(socket, frame);
  }

  #bringLater(frame: string, audience: Audience, except: ReadonlyMap<WebSocket, unknown>): void {
    const excluded = except
      .keys()
      .filter((socket) => audience.sockets.has(socket))
      .toArray();
    if (excluded.some((socket) => audience.waitsFor(socket))) audience.flush(this.#transmit);
    const isLarge = audience.wait(frame);
    // As if it had joined only now: it gets what follows this frame.
    for (const socket of excluded) audience.add(socket);
    if (isLarge) this.#flush();
    else this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const wait = this.#opensAt - Date.now();
    // A clock that steps back must not make anybody wait.
    if (wait < 1 || wait > MAX_WINDOW) queueMicrotask(() => this.#flush());
    else setTimeout(() => this.#flush(), wait);
  }

  #flush(): void {
    this.#isScheduled = false;
    let [sockets, frames] = [0, 0];
    for (const audience of this.#audiences.values()) {
      if (!audience.waits) continue;
      frames += audience.flush(this.#transmit);
      sockets += audience.sockets.size;
    }
    if (frames > 0) this.#pace(sockets, frames);
  }

  /** Decides by what was just sent when the next batch may go out. */
  #pace(sockets: number, frames: number): void {
    const now = Date.now();
    const earned = Math.max(0, now - this.#freeAt) * FREE_RATE;
    this.#free = Math.max(-FREE_BURST, Math.min(FREE_BURST, this.#free + earned) - frames);
    this.#freeAt = now;
    this.#opensAt = this.#free > 0 ? now : now + Math.min(MAX_WINDOW, sockets * WINDOW_PER_SOCKET);
  }
}

function mayReceive({ traits: { receives, identity } }: Audience, message: Restriction): boolean {
  return receives && mayRead(identity, message);
}

const NONE: ReadonlyMap<WebSocket, unknown> = new Map();

const socketsOf = ({ sockets }: Audience) => sockets.keys();

/** Frames as the text of one WebSocket message. */
export function asBatch(frames: readonly string[]): string {
  return `[${frames.join(",")}]`;
}

/** Frames as few WebSocket messages, none of them much larger than it has to be. */
export function* batchesOf(frames: Iterable<string>): Generator<string> {
  let batch: string[] = [];
  let text = 0;
  for (const frame of frames) {
    batch.push(frame);
    text += frame.length;
    if (text < MAX_BATCH_TEXT) continue;
    yield asBatch(batch);
    [batch, text] = [[], 0];
  }
  if (batch.length > 0) yield asBatch(batch);
}

/** Of an identity only these count: whether its kind, or a user's database, may see a message. */
function keyOf({ identity, batch, receives, presence }: Traits): string {
  return JSON.stringify([identity.kind, identity.kind === "user" && identity.database, batch, receives, presence]);
}
