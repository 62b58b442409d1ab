import type { Place } from "./log.ts";

/** How long an idempotency key is remembered at least, in milliseconds. */
export const KEY_LIFETIME = 24 * 60 * 60 * 1000;

/** What is remembered of a key: which body it came with, and where that message is. */
export interface Remembered extends Place {
  digest: string;
}

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
 * written and none deleted, and is remembered for one to two lifetimes.
 */
export class Keys {
  readonly #storage: DurableObjectStorage;
  #marks: Marks | undefined;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#marks = storage.kv.get<Marks>("keys");
  }

  find(key: string): Remembered | undefined {
    // Without marks no key was ever used here, and there is no table.
    if (!this.#marks) return undefined;
    const [found] = this.#storage.sql.exec<Remembered & Record<string, SqlStorageValue>>(
      `SELECT digest, seq, time FROM keys_0 WHERE key = ?1 UNION ALL SELECT digest, seq, time FROM keys_1 WHERE key = ?1`,
      key,
    );
    return found;
  }

  /** Remembers a key. Belongs into the transaction that stores its message. */
  remember(key: string, { digest, seq, time }: Remembered): void {
    const { current } = this.#takeTurns(time);
    this.#storage.sql.exec(
      `INSERT INTO keys_${current} (key, digest, seq, time) VALUES (?, ?, ?, ?)`,
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
    this.#storage.sql.exec(`DROP TABLE keys_${next}`);
    this.#create(next);
    return this.#mark({ current: next, since: now });
  }

  #create(table: number): void {
    this.#storage.sql.exec(
      `CREATE TABLE keys_${table} (key TEXT PRIMARY KEY, digest TEXT NOT NULL, seq INTEGER NOT NULL,
         time INTEGER NOT NULL) WITHOUT ROWID`,
    );
  }

  #mark(marks: Marks): Marks {
    this.#storage.kv.put("keys", marks);
    this.#marks = marks;
    return marks;
  }
}
