import { refuse, type Result } from "../protocol/errors.ts";
import { utf8Length } from "../protocol/utf8.ts";
import type { Log } from "./log.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;

/** The count is written to storage each time that it has grown by this part of the quota. */
const STEPS_PER_QUOTA = 64;
/** The count is also written after this many messages. Until then the log holds all of them, so they can be counted again. */
const MAX_UNSAVED_MESSAGES = 1_000;

/** What anonymous clients stored on a day, in bytes. Days are counted from the epoch and begin at midnight UTC. */
interface Count {
  day: number;
  bytes: number;
}

/** A count as it is stored. It includes all messages up to `seq`. */
interface SavedCount extends Count {
  seq: number;
}

/**
 * Bounds what anonymous clients store in a channel per day (LIM14), in bytes of UTF-8: payloads and clients.
 *
 * Few rows are written for it: the count is saved in steps. When the object returns to memory, what it stored since the last
 * step is counted again from the log. A socket message of an API-key client looks like one of an anonymous client there, so
 * the count may be too high by one step, and never by more.
 */
export class AnonymousQuota {
  readonly #kv: SyncKvStorage;
  readonly #log: Log;
  readonly #limit: () => number | null;
  #saved: SavedCount | undefined;
  #current: Count | undefined;

  /** @param limit Returns the quota that holds, in bytes; null if there is none. */
  constructor(kv: SyncKvStorage, log: Log, limit: () => number | null) {
    this.#kv = kv;
    this.#log = log;
    this.#limit = limit;
    this.#saved = kv.get<SavedCount>("anonymous-quota");
  }

  /**
   * Counts messages of an anonymous client, up to the first one that does not fit. Returns those that were counted. They must
   * be stored in the same turn, and `save` must be called after.
   */
  take(payloads: readonly string[], client: string | null): readonly string[] {
    const limit = this.#limit();
    if (limit === null) return payloads;
    const count = this.#today(limit);
    const clientBytes = utf8Length(client ?? "");
    const end = payloads.findIndex((payload) => {
      const bytes = count.bytes + utf8Length(payload) + clientBytes;
      if (bytes <= limit) count.bytes = bytes;
      return bytes > limit;
    });
    return end === -1 ? payloads : payloads.slice(0, end);
  }

  /** Writes the count to storage if that is due. To be called after messages were stored, of whomever. */
  save(): void {
    const [limit, count, saved] = [this.#limit(), this.#current, this.#saved];
    if (limit === null || count === undefined || count.bytes === 0) return;
    const isDue =
      saved?.day !== count.day ||
      count.bytes - saved.bytes >= stepOf(limit) ||
      this.#log.last - saved.seq >= MAX_UNSAVED_MESSAGES;
    if (!isDue) return;
    this.#saved = { ...count, seq: this.#log.last };
    this.#kv.put("anonymous-quota", this.#saved);
  }

  /** The refusal of a message that does not fit. */
  refusal(): Result<never> {
    const limit = this.#limit() ?? 0;
    const detail = `Anonymous clients may store ${limit} bytes per day in this channel; this message does not fit any more.`;
    const retryAfter = Math.ceil((DAY_MS - (Date.now() % DAY_MS)) / 1_000);
    return refuse("quota-exceeded", detail, { limit, retryAfter });
  }

  #today(limit: number): Count {
    const day = Math.floor(Date.now() / DAY_MS);
    if (this.#current?.day !== day) this.#current = { day, bytes: this.#restored(day, limit) };
    return this.#current;
  }

  #restored(day: number, limit: number): number {
    if (this.#saved?.day !== day) return 0;
    const unsaved = this.#log.anonymousBytes(this.#saved.seq + 1, day * DAY_MS);
    return this.#saved.bytes + Math.min(unsaved, stepOf(limit));
  }
}

function stepOf(limit: number): number {
  return Math.ceil(limit / STEPS_PER_QUOTA);
}
