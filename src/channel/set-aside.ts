import { type Direction, type Range, takeWithin } from "../archive/range.ts";
import type { StoredMessage } from "../protocol/frames.ts";
import { MAX_PAGE_CHARACTERS, MAX_PAGE_SIZE } from "../protocol/limits.ts";

/** The time after which D1 gets a message again that it refused. */
const RETRY_AFTER_MS = 60 * 60 * 1_000;

/**
 * Messages that D1 refuses although it accepts others. They are stored here, so that later messages can be archived.
 * History includes them, and the archiver sends them to D1 again every hour. The table is created with the first such
 * message.
 */
export class SetAside {
  readonly #storage: DurableObjectStorage;
  #count: number;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    const count = storage.kv.get<number>("set-aside");
    this.#count = count ?? 0;
    if (count !== undefined) this.#addColumn();
  }

  /** Adds the column that a table of an earlier version lacks. */
  #addColumn(): void {
    const [column] = this.#storage.sql.exec("SELECT 1 FROM pragma_table_info('set_aside') WHERE name = 'type'");
    if (!column) this.#storage.sql.exec("ALTER TABLE set_aside ADD COLUMN type TEXT");
  }

  add({ seq, time, action, client, database, type, payload }: StoredMessage): void {
    this.#storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS set_aside (seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, action TEXT NOT NULL,
         client TEXT, database TEXT, payload TEXT NOT NULL, tried INTEGER NOT NULL, type TEXT)`,
    );
    this.#storage.sql.exec(
      "INSERT INTO set_aside (seq, time, action, client, database, payload, tried, type) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      seq,
      time,
      action,
      client,
      database,
      payload,
      Date.now(),
      type,
    );
    this.#setCount(this.#count + 1);
  }

  /** Removes a message that D1 has stored. */
  remove(seq: number): void {
    this.#storage.sql.exec("DELETE FROM set_aside WHERE seq = ?", seq);
    this.#setCount(this.#count - 1);
  }

  /** Records that D1 refused a message again. */
  postpone(seq: number): void {
    this.#storage.sql.exec("UPDATE set_aside SET tried = ? WHERE seq = ?", Date.now(), seq);
  }

  /** Returns the messages of a range, oldest first: at most one page, from the end where the direction begins. */
  read({ from, to }: Range, direction: Direction): StoredMessage[] {
    if (this.#count === 0) return [];
    const isForward = direction === "forward";
    const found = this.#storage.sql.exec<Row>(
      `SELECT ${COLUMNS} FROM set_aside WHERE seq BETWEEN ? AND ? ORDER BY seq ${isForward ? "ASC" : "DESC"} LIMIT ?`,
      from,
      to,
      MAX_PAGE_SIZE + 1,
    );
    const page = takeWithin(found, MAX_PAGE_CHARACTERS);
    return isForward ? page : page.toReversed();
  }

  /** Returns a message to send to D1 again now, undefined if there is none. */
  due(): StoredMessage | undefined {
    if (this.nextTry > Date.now()) return undefined;
    return this.#storage.sql.exec<Row>(`SELECT ${COLUMNS} FROM set_aside ORDER BY tried LIMIT 1`).one();
  }

  /** When to send a message to D1 again, in milliseconds since the epoch; Infinity if there is none. */
  get nextTry(): number {
    if (this.#count === 0) return Infinity;
    const { tried } = this.#storage.sql.exec<{ tried: number }>("SELECT min(tried) AS tried FROM set_aside").one();
    return tried + RETRY_AFTER_MS;
  }

  #setCount(count: number): void {
    this.#storage.kv.put("set-aside", count);
    this.#count = count;
  }
}

const COLUMNS = "seq, time, action, client, database, type, payload";

type Row = StoredMessage & Record<string, SqlStorageValue>;
