import type { Identity } from "../auth/policy.ts";
import { MAX_STORAGE_BYTES_FOR_KEYS } from "../protocol/limits.ts";
import type { Position } from "./message-log.ts";

/** The shortest time for which a key is remembered. */
export const KEY_LIFETIME_MS = 24 * 60 * 60 * 1000;

/** An idempotency key and its message, each as a digest of 16 bytes. */
export interface KeyedMessage {
  key: ArrayBuffer;
  digest: ArrayBuffer;
}

/** The position of a known key's message, and whether that message equals the new one. */
export interface Remembered extends Position {
  isSame: boolean;
}

/** The longest time after which a publisher is asked to try again. */
const MAX_RETRY_AFTER_SECONDS = 3_600;

interface Marks {
  /** The number of the table for new keys, 0 or 1. */
  current: number;
  /** When this table was created, in milliseconds since the epoch. */
  since: number;
}

/**
 * The idempotency keys of a channel's messages.
 *
 * Two tables take turns. Each takes new keys for one lifetime, and is dropped after the next one. So a key costs one
 * row written, and no row is deleted. A key is remembered for one to two lifetimes, and takes 56 bytes of storage,
 * however long it is.
 */
export class IdempotencyKeys {
  readonly #storage: DurableObjectStorage;
  #marks: Marks | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#marks = storage.kv.get<Marks>("idempotency");
  }

  find({ key, digest }: KeyedMessage): Remembered | undefined {
    // Without marks, no key was ever stored and there are no tables.
    if (!this.#marks) return undefined;
    const [found] = this.#storage.sql.exec<Position & { isSame: number }>(
      `SELECT digest = ?2 AS isSame, seq, time FROM idempotency_0 WHERE key = ?1
       UNION ALL SELECT digest = ?2 AS isSame, seq, time FROM idempotency_1 WHERE key = ?1`,
      key,
      digest,
    );
    return found && { ...found, isSame: found.isSame === 1 };
  }

  /**
   * Returns 0 if there is room for another key of this kind of caller, otherwise the seconds after which to try again.
   */
  secondsUntilRoom(kind: Identity["kind"], now: number): number {
    // Do not create the tables here: the message may still be refused.
    const { since } = this.#marks ? this.#takeTurns(now) : { since: now };
    if (this.#storage.sql.databaseSize < MAX_STORAGE_BYTES_FOR_KEYS[kind]) return 0;
    return Math.max(1, Math.min(MAX_RETRY_AFTER_SECONDS, Math.ceil((since + KEY_LIFETIME_MS - now) / 1000)));
  }

  /** Stores a key. Call it in the transaction that stores the key's message. */
  remember({ key, digest }: KeyedMessage, { seq, time }: Position): void {
    const { current } = this.#takeTurns(time);
    this.#storage.sql.exec(
      `INSERT INTO idempotency_${current} (key, digest, seq, time) VALUES (?, ?, ?, ?)`,
      key,
      digest,
      seq,
      time,
    );
  }

  #takeTurns(now: number): Marks {
    if (!this.#marks) {
      this.#create(0);
      this.#create(1);
      return this.#mark({ current: 0, since: now });
    }
    if (now - this.#marks.since < KEY_LIFETIME_MS) return this.#marks;
    const next = 1 - this.#marks.current;
    this.#storage.sql.exec(`DROP TABLE idempotency_${next}`);
    this.#create(next);
    return this.#mark({ current: next, since: now });
  }

  #create(table: number): void {
    this.#storage.sql.exec(
      `CREATE TABLE idempotency_${table} (key BLOB PRIMARY KEY, digest BLOB NOT NULL, seq INTEGER NOT NULL,
         time INTEGER NOT NULL) WITHOUT ROWID`,
    );
  }

  #mark(marks: Marks): Marks {
    this.#storage.kv.put("idempotency", marks);
    this.#marks = marks;
    return marks;
  }
}
