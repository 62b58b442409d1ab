import { type Direction, type Range, takeWithin } from "../archive/range.ts";
import type { StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_BYTES, MAX_PAGE_SIZE } from "../protocol/limits.ts";

/** How long until D1 is offered a message again that it refused, in milliseconds. */
const RETRY_AFTER_MS = 60 * 60 * 1_000;

/**
 * Messages that D1 refuses although it takes others. They are kept here, out of the way of those after them: history shows
 * them all the same, and D1 is offered them again every hour. The table exists only where there has been such a message.
 */
export class SetAside {
  readonly #storage: DurableObjectStorage;
  #count: number;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#count = storage.kv.get<number>("set-aside") ?? 0;
  }

  add({ seq, time, action, client, database, payload }: StoredMessage): void {
    this.#storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS set_aside (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, action TEXT NOT NULL,
         client TEXT, database TEXT, payload TEXT NOT NULL, tried INTEGER NOT NULL)`,
    );
    this.#storage.sql.exec(
      "INSERT INTO set_aside (seq, time, action, client, database, payload, tried) VALUES (?, ?, ?, ?, ?, ?, ?)",
      seq,
      time,
      action,
      client,
      database,
      payload,
      Date.now(),
    );
    this.#remember(this.#count + 1);
  }

  /** Forgets a message that D1 has taken. */
  remove(seq: number): void {
    this.#storage.sql.exec("DELETE FROM set_aside WHERE seq = ?", seq);
    this.#remember(this.#count - 1);
  }

  /** Notes that D1 was offered a message and refused it again. */
  postpone(seq: number): void {
    this.#storage.sql.exec("UPDATE set_aside SET tried = ? WHERE seq = ?", Date.now(), seq);
  }

  /** Returns the messages of a range, oldest first: at most a page, from the near end of the direction. */
  read({ from, to }: Range, direction: Direction): StoredMessage[] {
    if (this.#count === 0) return [];
    const isForward = direction === "forward";
    const found = this.#storage.sql.exec<Row>(
      `SELECT ${COLUMNS} FROM set_aside WHERE seq BETWEEN ? AND ? ORDER BY seq ${isForward ? "ASC" : "DESC"} LIMIT ?`,
      from,
      to,
      MAX_PAGE_SIZE + 1,
    );
    const page = takeWithin(found, MAX_PAGE_BYTES);
    return isForward ? page : page.toReversed();
  }

  /** Returns a message that D1 is to be offered again now, if there is one. */
  due(): StoredMessage | undefined {
    if (this.nextTry > Date.now()) return undefined;
    return this.#storage.sql.exec<Row>(`SELECT ${COLUMNS} FROM set_aside ORDER BY tried LIMIT 1`).one();
  }

  /** When D1 is to be offered a message again, in milliseconds since the epoch; Infinity when there is none. */
  get nextTry(): number {
    if (this.#count === 0) return Infinity;
    const { tried } = this.#storage.sql.exec<{ tried: number }>("SELECT min(tried) AS tried FROM set_aside").one();
    return tried + RETRY_AFTER_MS;
  }

  #remember(count: number): void {
    this.#storage.kv.put("set-aside", count);
    this.#count = count;
  }
}

const COLUMNS = "seq, time, action, client, database, payload";

type Row = StoredMessage & Record<string, SqlStorageValue>;
