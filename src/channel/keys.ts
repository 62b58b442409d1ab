import type { Identity } from "../auth/policy.ts";
import { MAX_DATABASE_BYTES } from "../protocol/limits.ts";
import type { Place } from "./log.ts";

/** How long an idempotency key is remembered at least, in milliseconds. */
export const KEY_LIFETIME = 24 * 60 * 60 * 1000;

/** An idempotency key and the message that it came with, each as a digest of 16 bytes. */
export interface KeyedMessage {
  key: ArrayBuffer;
  digest: ArrayBuffer;
}

/** Where a remembered key's message is, and whether it is the same message. */
export interface Remembered extends Place {
  isSame: boolean;
}

/** The longest time that a publisher is asked to wait for room, in seconds. */
const LONGEST_WAIT_S = 3_600;

interface Marks {
  /** The table that takes new keys, 0 or 1. */
  current: number;
  /** When it began to, in milliseconds since the epoch. */
  since: number;
}

/**
 * The idempotency keys of a channel's messages.
 *
 * Two tables take turns, a lifetime each, and the older is dropped whole when its turn is over. So a key costs one row
 * written and none deleted, and is remembered for one to two lifetimes. It takes 56 bytes of storage, however long it is.
 */
export class Keys {
  readonly #storage: DurableObjectStorage;
  #marks: Marks | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#marks = storage.kv.get<Marks>("idempotency");
  }

  find({ key, digest }: KeyedMessage): Remembered | undefined {
    // Without marks no key was ever used here, and there is no table.
    if (!this.#marks) return undefined;
    const [found] = this.#storage.sql.exec<Place & { isSame: number }>(
      `SELECT digest = ?2 AS isSame, seq, time FROM idempotency_0 WHERE key = ?1
       UNION ALL SELECT digest = ?2 AS isSame, seq, time FROM idempotency_1 WHERE key = ?1`,
      key,
      digest,
    );
    return found && { ...found, isSame: found.isSame === 1 };
  }

  /** Returns 0 if there is room for another key of this kind of caller, otherwise the seconds after which there may be. */
  secondsUntilRoom(kind: Identity["kind"], now: number): number {
    // Nothing is stored for a key whose message may yet be refused.
    const { since } = this.#marks ? this.#takeTurns(now) : { since: now };
    if (this.#storage.sql.databaseSize < MAX_DATABASE_BYTES[kind]) return 0;
    return Math.max(1, Math.min(LONGEST_WAIT_S, Math.ceil((since + KEY_LIFETIME - now) / 1000)));
  }

  /** Remembers a key. Belongs into the transaction that stores its message. */
  remember({ key, digest }: KeyedMessage, { seq, time }: Place): void {
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
    if (now - this.#marks.since < KEY_LIFETIME) return this.#marks;
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
