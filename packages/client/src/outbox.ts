import { utf8Length } from "../../../src/protocol/utf8.ts";
import { ChannelError } from "./errors.ts";
import type { Position } from "./messages.ts";
import { type Entry, Queue } from "./queue.ts";

/** How many messages may wait for their answers. */
export const MAX_IN_FLIGHT = 32;
/** How long the outbox waits for any answer before it sends the unanswered messages again. */
const ANSWER_TIMEOUT_MS = 10_000;
/** How long a message may be kept. The server remembers ids for 24 hours (IDM3). */
const KEPT_MS = 24 * 60 * 60 * 1_000;
/** The largest frame that the server accepts, in bytes of UTF-8 (LIM1). */
const MAX_FRAME_BYTES = 65_536;
/** The largest array of frames that the server accepts, and the most frames in one (CON9). */
const MAX_ARRAY_BYTES = 1_048_576;
const MAX_ARRAY_FRAMES = 100;

/** A message to send. */
export interface Outgoing {
  /** Names the frame. For a stored message it is also the idempotency key. */
  id: string;
  channel: string;
  /** The frame, JSON. */
  text: string;
  /**
   * - `stored`: sent again with the same id until the server has stored it once.
   * - `private`: not stored, so it is sent at most once.
   * - `ephemeral`: like `private`, and dropped if there is no connection.
   */
  kind: "stored" | "private" | "ephemeral";
}

/** A stored message that has no answer yet, as an `OutboxStorage` keeps it. */
export interface KeptMessage {
  id: string;
  channel: string;
  /** The frame, JSON. */
  text: string;
  /** When it was sent first, in milliseconds since the epoch. No two messages of a page have the same. */
  at: number;
}

/** Keeps messages that have no answer, so that they survive a reload of the page. */
export interface OutboxStorage {
  /** Returns the messages of a channel, oldest first. */
  load: (channel: string) => Promise<readonly KeptMessage[]>;
  put: (message: KeptMessage) => Promise<unknown>;
  remove: (message: KeptMessage) => Promise<unknown>;
}

/** The part of a storage that belongs to one channel. */
export interface OutboxShelf {
  storage: OutboxStorage;
  channel: string;
  /** Called with the error of a message that was sent before a reload. */
  failed: (error: ChannelError) => void;
}

interface Waiting extends Outgoing, Entry<Position | undefined> {
  kept?: KeptMessage;
  /** Whether the message was sent and has no answer yet. */
  isSent: boolean;
}

interface OutboxDeps {
  /** Sends frames, all in one array. Returns false if there is no connection. */
  transmit: (messages: readonly Outgoing[]) => boolean;
  /** How many messages may wait for their answers. */
  window?: number;
  /** Returns 0 if a frame may be sent now. Otherwise returns the milliseconds to wait. */
  pace?: (frame: string) => number;
  /** By default the messages are only in memory. */
  shelf?: OutboxShelf | undefined;
}

/**
 * Sends messages in order, several at a time, until each has its answer. After a lost connection it sends all unanswered
 * stored messages again with the same ids, before newer ones. So each is stored once, in order.
 */
export class Outbox {
  readonly #transmit: OutboxDeps["transmit"];
  readonly #window: number;
  readonly #pace: (frame: string) => number;
  readonly #shelf: OutboxShelf | undefined;
  /** Whether the messages from before a reload are being read. They are sent before newer ones. */
  #isLoading = false;
  /** The last change of the storage. They are made in order. */
  #stored: Promise<unknown> = Promise.resolve();
  readonly #queue = new Queue<Position | undefined, Waiting>();
  /** Whether the connection may be used. It has joined the channel. */
  #isOpen = false;
  /** Whether a connection was lost, and there is no new one yet. */
  #isInterrupted = false;
  #isScheduled = false;
  /** The channels whose messages wait because the server asked for it, and the timers that end the wait. */
  readonly #pauses = new Map<string, ReturnType<typeof setTimeout>>();
  #timeout: ReturnType<typeof setTimeout> | undefined;
  /** Continues when the next frame may be sent. */
  #pacing: ReturnType<typeof setTimeout> | undefined;

  constructor({ transmit, window = MAX_IN_FLIGHT, pace = () => 0, shelf }: OutboxDeps) {
    this.#transmit = transmit;
    this.#window = window;
    this.#pace = pace;
    this.#shelf = shelf;
    if (shelf) void this.#load(shelf);
  }

  /**
   * Resolves once the server has answered: with the position of a stored message, or with undefined.
   *
   * @throws ChannelError `too-large`, `queue-full`, or `network` for an ephemeral message without a connection
   */
  async send(message: Outgoing): Promise<Position | undefined> {
    if (message.text.length > MAX_FRAME_BYTES / 3 && utf8Length(message.text) > MAX_FRAME_BYTES) throw TOO_LARGE();
    if (message.kind === "ephemeral" && this.#isInterrupted) throw NO_CONNECTION();
    const kept = this.#shelf && message.kind === "stored" ? keptOf(message) : undefined;
    const answer = this.#queue.add({ ...message, isSent: false, ...(kept && { kept }) });
    if (kept) this.#store((storage) => storage.put(kept));
    this.#schedule();
    return answer;
  }

  /** Call this when a new connection may be used. Sends the unanswered messages again. */
  open(): void {
    this.#isOpen = true;
    this.#isInterrupted = false;
    this.#flush();
  }

  /** Call this when the connection can send again. */
  wake(): void {
    this.#flush();
  }

  /** Call this when the connection is lost. It is unknown whether the unanswered messages have arrived. */
  interrupt(): void {
    this.#isOpen = false;
    this.#isInterrupted = true;
    this.#takeBack();
    for (const entry of this.#queue) if (entry.kind === "ephemeral") this.#settle(entry).reject(NO_CONNECTION());
  }

  /** Notes an `ack` frame. Returns whether it was for one of these messages. */
  acked(id: string, position: Position | undefined): boolean {
    const entry = this.#find(id);
    if (entry) this.#settle(entry).resolve(position);
    return entry !== undefined;
  }

  /**
   * Notes an `error` frame. Returns whether a message's promise handles it. The server could not read the id of a frame
   * that it could not parse, so an error without an id belongs to the only unanswered message.
   */
  refused(id: string | undefined, error: ChannelError): boolean {
    const entry = id === undefined ? this.#onlySent() : this.#find(id);
    if (!entry) return false;
    if (isTemporary(error)) this.#pause(entry, error.retryAfter ?? 1);
    else this.#settle(entry).reject(error);
    return true;
  }

  close(error: ChannelError): void {
    this.#isOpen = false;
    this.#stopTimeout();
    if (this.#pacing !== undefined) clearTimeout(this.#pacing);
    for (const timer of this.#pauses.values()) clearTimeout(timer);
    // Messages that are kept stay in the storage, and are sent when the channel is opened again.
    for (const { isSent, kept, reject } of this.#queue) {
      if (!kept) reject(isSent ? UNCONFIRMED() : error);
      else if (reject !== this.#shelf?.failed) reject(error);
    }
    this.#queue.clear();
  }

  /** Sends at the end of the current task's step, so that messages sent together share one array. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#flush();
    });
  }

  /** Puts the messages from before a reload ahead of newer ones. */
  async #load({ storage, channel, failed }: OutboxShelf): Promise<void> {
    this.#isLoading = true;
    // Without the storage, the messages of this page are still sent.
    const kept = await storage.load(channel).catch(() => []);
    this.#isLoading = false;
    // What this page has sent meanwhile may have been loaded, too.
    const earlier = kept.filter(({ id }) => !this.#find(id)).map((message) => waitingAgain(message, failed));
    this.#queue.prepend(earlier);
    // The server may have forgotten the id of an old message, so it could store the message twice.
    const oldest = Date.now() - KEPT_MS;
    for (const entry of earlier) if (entry.kept.at < oldest) this.#settle(entry).reject(UNCONFIRMED());
    this.#flush();
  }

  #store(change: (storage: OutboxStorage) => Promise<unknown>): void {
    const { storage } = this.#shelf ?? {};
    // A message that cannot be kept is still sent.
    if (storage) this.#stored = this.#stored.then(() => change(storage)).catch(() => {});
  }

  #flush(): void {
    if (!this.#isOpen || this.#isLoading) return;
    for (let batch = this.#nextBatch(); batch.length > 0; batch = this.#nextBatch()) {
      for (const entry of batch) entry.isSent = true;
      if (!this.#transmit(batch)) {
        for (const entry of batch) entry.isSent = false;
        return;
      }
      this.#restartTimeout();
    }
  }

  #nextBatch(): Waiting[] {
    const batch: Waiting[] = [];
    let sent = 0;
    let bytes = 1;
    for (const entry of this.#queue) {
      if (sent + batch.length >= this.#window || batch.length >= MAX_ARRAY_FRAMES) break;
      if (entry.isSent) sent += 1;
      else if (!this.#pauses.has(entry.channel)) {
        bytes += utf8Length(entry.text) + 1;
        if (bytes > MAX_ARRAY_BYTES || !this.#isInTime(entry)) break;
        batch.push(entry);
      }
    }
    return batch;
  }

  /** Returns whether a message may be sent now. If not, continues when it may. */
  #isInTime({ text }: Outgoing): boolean {
    const milliseconds = this.#pace(text);
    if (milliseconds === 0) return true;
    if (this.#pacing !== undefined) clearTimeout(this.#pacing);
    this.#pacing = setTimeout(() => this.#flush(), milliseconds);
    return false;
  }

  /** Sends a channel's messages again after a pause, from the refused one on. What was refused was not stored (ERR3). */
  #pause(refused: Waiting, seconds: number): void {
    refused.isSent = false;
    for (const entry of this.#queue) {
      if (entry.channel === refused.channel && entry.kind === "stored") entry.isSent = false;
    }
    if (this.#pauses.has(refused.channel)) return;
    const timer = setTimeout(() => {
      this.#pauses.delete(refused.channel);
      this.#flush();
    }, seconds * 1_000);
    this.#pauses.set(refused.channel, timer);
  }

  /** Prepares to send the unanswered messages again, except those that may be sent only once. */
  #takeBack(): void {
    this.#stopTimeout();
    for (const entry of this.#queue) {
      if (entry.isSent && entry.kind !== "stored") this.#settle(entry).reject(UNCONFIRMED());
      entry.isSent = false;
    }
  }

  #restartTimeout(): void {
    this.#stopTimeout();
    if (![...this.#queue].some(({ isSent }) => isSent)) return;
    this.#timeout = setTimeout(() => {
      this.#takeBack();
      this.#flush();
    }, ANSWER_TIMEOUT_MS);
  }

  #stopTimeout(): void {
    if (this.#timeout !== undefined) clearTimeout(this.#timeout);
  }

  #find(id: string): Waiting | undefined {
    for (const entry of this.#queue) if (entry.id === id) return entry;
    return undefined;
  }

  #onlySent(): Waiting | undefined {
    const [first, ...others] = [...this.#queue].filter(({ isSent }) => isSent);
    return others.length === 0 ? first : undefined;
  }

  /** Removes a message and continues with the next ones. The caller settles its promise. */
  #settle(entry: Waiting): Waiting {
    this.#queue.remove(entry);
    const { kept } = entry;
    if (kept) this.#store((storage) => storage.remove(kept));
    this.#restartTimeout();
    this.#schedule();
    return entry;
  }
}

/** Returns a message from before a reload. Nobody waits for its promise any more. */
function waitingAgain(kept: KeptMessage, failed: (error: ChannelError) => void) {
  const { id, channel, text } = kept;
  return { id, channel, text, kept, kind: "stored" as const, isSent: false, resolve: () => {}, reject: failed };
}

const keptOf = ({ id, channel, text }: Outgoing): KeptMessage => ({ id, channel, text, at: nextTime() });

let lastTime = 0;
/** Returns the time in milliseconds since the epoch, later than any time before. */
function nextTime(): number {
  lastTime = Math.max(lastTime + 0.001, Date.now());
  return lastTime;
}

/** Returns whether the server will accept the same frame later. A used-up quota is not renewed until midnight, so it doesn't count. */
function isTemporary({ code, retryAfter }: ChannelError): boolean {
  return code === "rate-limited" || (retryAfter !== undefined && code !== "quota-exceeded");
}

const UNCONFIRMED = () =>
  new ChannelError("unconfirmed", "The message was sent, but it is unknown whether the server accepted it.");
const NO_CONNECTION = () =>
  new ChannelError("network", "There is no connection, so the ephemeral message was dropped.");
const TOO_LARGE = () =>
  new ChannelError("too-large", `A frame may have at most ${MAX_FRAME_BYTES} bytes. Send a smaller payload.`, {
    field: "payload",
    limit: MAX_FRAME_BYTES,
  });
