import { refuse, type Result } from "../protocol/errors.ts";
import { utf8Length } from "../protocol/utf8.ts";
import type { MessageLog } from "./message-log.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;

/** The count is stored each time that it has grown by this fraction of the quota. */
const STEPS_PER_QUOTA = 64;
/**
 * The count is also stored after this many messages. The log contains the messages since then, so they can be counted
 * again.
 */
const MAX_UNSAVED_MESSAGES = 1_000;

/** The bytes that anonymous clients stored on a day. Days are counted from the epoch and begin at midnight UTC. */
interface Count {
  day: number;
  bytes: number;
}

/** A count as it is stored. It includes all messages up to `seq`. */
interface SavedCount extends Count {
  seq: number;
}

/**
 * Limits the bytes of UTF-8, payloads and clients, that anonymous clients store in a channel per day (LIM14).
 *
 * The count is stored in steps, so it costs few rows. When the object returns to memory, it counts the messages since
 * the last step again, from the log. In the log, a socket message of an API-key client looks like an anonymous
 * client's. So the count may be too high by at most one step.
 */
export class AnonymousQuota {
  readonly #kv: SyncKvStorage;
  readonly #log: MessageLog;
  readonly #limit: () => number | null;
  #saved: SavedCount | undefined;
  #current: Count | undefined;

  /** @param limit Returns the current quota in bytes, null if there is none. */
  constructor(kv: SyncKvStorage, log: MessageLog, limit: () => number | null) {
    this.#kv = kv;
    this.#log = log;
    this.#limit = limit;
    this.#saved = kv.get<SavedCount>("anonymous-quota");
  }

  /**
   * Counts messages of an anonymous client, up to the first message that does not fit. The caller must store the
   * returned messages in the same turn of the event loop, and then call `save`.
   *
   * @returns The messages that were counted.
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

  /** Stores the count if a step is complete. To be called after messages of any client were stored. */
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

  /** Returns the refusal of a message that does not fit. */
  refusal(): Result<never> {
    const limit = this.#limit() ?? 0;
    const detail = `Anonymous clients may store ${limit} bytes per day in this channel, and this message would exceed that. The quota is renewed at midnight UTC.`;
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
