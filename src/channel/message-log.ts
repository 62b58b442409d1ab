import type { StoredMessage } from "../protocol/frames.ts";
import type { Range } from "../archive/range.ts";
import type { ArchiveBatch } from "../archive/store.ts";
import { searchByTime } from "../archive/bisect.ts";
import { LOG_CAPACITY } from "../protocol/limits.ts";

/** New messages, which have no `seq` and `time` yet. Only their payloads differ. */
export interface NewMessages extends Pick<StoredMessage, "action" | "client" | "database" | "type"> {
  payloads: readonly string[];
  /** The idempotency key of each message; undefined if they have none. */
  keys?: readonly Key[] | undefined;
}

/** An idempotency key, and a digest of the content that it stands for. */
export interface Key {
  key: string;
  digest: number;
}

/** A message in the log. `key` is its idempotency key, null if it has none. */
export interface LoggedMessage extends StoredMessage {
  key: string | null;
}

/** The position of a message in its channel. `time` is in milliseconds since the epoch. */
export type Position = Pick<StoredMessage, "seq" | "time">;

/**
 * The largest text of the payloads of one append, in UTF-16 units. They are passed to SQLite as one parameter, which
 * may have 2 MB.
 */
export const MAX_APPEND_CHARACTERS = 256 * 1024;

/**
 * Data that the log stores in addition to the messages, in one row. Written once per archived batch, not once per
 * message.
 */
interface Marks {
  /** The first `seq` that this log ever contained: 1, unless the log was restored from the archive. */
  first: number;
  /** The last archived `seq`; 0 if nothing is archived. */
  archived: number;
  /**
   * A `seq` that no archived message with a key comes after; 0 if there is none. A log of an earlier version lacks it.
   */
  keyed?: number;
}

/**
 * A channel's latest messages, in the SQLite of its Durable Object: the write-ahead log of the archive, and the source
 * of recent history and resume.
 *
 * The log is a ring. A message's slot is its `seq` modulo the capacity, and an append overwrites the previous message
 * in that slot. So a message costs one row written, and no message is deleted. A message is overwritten only after it
 * was archived.
 *
 * Everything here is synchronous. All writes in one turn of the event loop are committed together. The runtime's output
 * gate holds back every frame and response until the commit is durable
 * (https://developers.cloudflare.com/durable-objects/reference/in-memory-state/).
 */
export class MessageLog {
  readonly #storage: DurableObjectStorage;
  readonly #capacity: number;
  #marks: Marks | undefined;
  /**
   * Whether the table and the marks are stored. An empty log is only in memory, so reading a channel stores nothing.
   */
  #isStored = false;
  #last = 0;
  #lastTime = 0;
  #lastKeyed = 0;

  constructor(storage: DurableObjectStorage, capacity = LOG_CAPACITY) {
    this.#storage = storage;
    this.#capacity = capacity;
    this.#marks = storage.kv.get<Marks>("log");
    if (!this.#marks) return;
    this.#isStored = true;
    if (this.#marks.keyed === undefined) this.#addColumns(this.#marks);
    this.#lastKeyed = this.#marks.keyed ?? 0;
    this.#findLast(this.#marks.archived);
  }

  /** Whether the log knows the channel's last `seq`. A new log needs `start`. */
  get started(): boolean {
    return this.#marks !== undefined;
  }

  /** Whether the log is in the object's storage. It is once the channel has a message. */
  get isStored(): boolean {
    return this.#isStored;
  }

  /** The channel's last `seq`, 0 if it has no message. */
  get last(): number {
    return this.#last;
  }

  /** The first `seq` in the log; `last + 1` if the log is empty. */
  get oldest(): number {
    return Math.max(this.#marks?.first ?? 1, this.#last - this.#capacity + 1);
  }

  /** The last archived `seq`; 0 if nothing is archived. */
  get archived(): number {
    return this.#marks?.archived ?? 0;
  }

  /** The number of messages that are not archived yet. */
  get backlog(): number {
    return this.#last - this.archived;
  }

  /** The number of messages that the log can hold. */
  get capacity(): number {
    return this.#capacity;
  }

  /** The last `seq` whose message may have an idempotency key; 0 if none has one. */
  get lastKeyed(): number {
    return this.#lastKeyed;
  }

  /** The number of messages that can be appended without overwriting a message that is not archived. */
  get room(): number {
    return this.#capacity - this.backlog;
  }

  /**
   * Starts the log with the channel's latest archived messages. Stores them, or nothing if there are none: then the
   * first append creates the table.
   *
   * @param archived Oldest first, without a gap.
   */
  start(archived: readonly StoredMessage[]): void {
    const last = archived.at(-1);
    const marks = { first: archived[0]?.seq ?? 1, archived: last?.seq ?? 0, keyed: 0 };
    if (last) {
      this.#storage.transactionSync(() => {
        this.#create(marks);
        for (const message of archived) this.#writeOne(message, undefined);
      });
    }
    this.#marks = marks;
    this.#isStored = last !== undefined;
    this.#last = last?.seq ?? 0;
    this.#lastTime = last?.time ?? 0;
  }

  /**
   * Stores messages and assigns their `seq` and `time`. The caller makes sure that there is room, and that the payloads
   * have at most `MAX_APPEND_CHARACTERS` together.
   *
   * @returns The stored messages.
   */
  append({ payloads, keys, ...shared }: NewMessages): StoredMessage[] {
    // A clock may step back, but the times of messages must not.
    const time = Math.max(Date.now(), this.#lastTime);
    const stored = payloads.map((payload, index) => ({ seq: this.#last + 1 + index, time, ...shared, payload }));
    if (!this.#isStored) {
      this.#create(this.#marks ?? { first: 1, archived: 0, keyed: 0 });
      this.#isStored = true;
    }
    this.#write(stored, keys);
    this.#last += stored.length;
    this.#lastTime = time;
    if (keys) this.#lastKeyed = this.#last;
    return stored;
  }

  /** Returns the time and the digest of a message with a key, undefined if the log does not contain it. */
  keyedAt(seq: number): { time: number; digest: number } | undefined {
    if (seq < this.oldest) return undefined;
    const [found] = this.#storage.sql.exec<{ time: number; digest: number }>(
      "SELECT time, digest FROM log WHERE slot = ?",
      seq % this.#capacity,
    );
    return found;
  }

  /**
   * Copies the keys of messages to a table with the columns `key`, `digest`, `seq` and `time`.
   *
   * @param since Copies only keys of this time or later, in milliseconds since the epoch.
   */
  copyKeys({ from, to }: Range, table: string, since: number): void {
    for (const [start, end] of this.#slotRuns({ from, to })) {
      this.#storage.sql.exec(
        `INSERT OR IGNORE INTO ${table} (key, digest, seq, time) SELECT key, digest, seq, time FROM log
         WHERE slot BETWEEN ? AND ? AND key IS NOT NULL AND time >= ?`,
        start,
        end,
        since,
      );
    }
  }

  /** Returns the positions of all messages in the log that have an idempotency key, by their keys, oldest first. */
  keyed(): Map<string, number> {
    const from = Math.max(1, this.oldest);
    if (from > this.#lastKeyed) return new Map();
    const positions = new Map<string, number>();
    for (const [start, end] of this.#slotRuns({ from, to: this.#last })) {
      const found = this.#storage.sql.exec<{ key: string; seq: number }>(
        "SELECT key, seq FROM log WHERE slot BETWEEN ? AND ? AND key IS NOT NULL ORDER BY slot",
        start,
        end,
      );
      for (const { key, seq } of found) {
        // The same key may have been used again after its lifetime.
        positions.delete(key);
        positions.set(key, seq);
      }
    }
    return positions;
  }

  /** Yields the messages of a range that are in the log, in either order. Reads rows lazily. */
  *read({ from, to }: Range, order: "ASC" | "DESC" = "ASC"): Generator<LoggedMessage> {
    const range = { from: Math.max(from, this.oldest), to: Math.min(to, this.#last) };
    if (range.from > range.to) return;
    const runs = this.#slotRuns(range);
    for (const [start, end] of order === "ASC" ? runs : runs.toReversed()) {
      yield* this.#storage.sql.exec<Row>(
        `SELECT seq, time, action, client, database, type, payload, key FROM log WHERE slot BETWEEN ? AND ? ORDER BY slot ${order}`,
        start,
        end,
      );
    }
  }

  /**
   * Returns, for each time, the first position in the log whose message has that time or a later one; `last + 1` if
   * there is none.
   *
   * @param times In milliseconds since the epoch.
   */
  positionsAt(times: readonly number[]): number[] {
    if (!this.#isStored) return times.map(() => this.#last + 1);
    const query = searchByTime(`log ON slot = (low + high) / 2 % ${this.#capacity}`);
    const found = this.#storage.sql.exec<{ position: number }>(
      query,
      JSON.stringify(times),
      this.oldest,
      this.#last + 1,
    );
    return [...found].map(({ position }) => position);
  }

  /**
   * Returns the bytes of the payloads and clients of the anonymous clients' messages in the log, in UTF-8.
   *
   * @param position Counts messages from this position on.
   * @param since Counts only messages of this time or later, in milliseconds since the epoch.
   */
  anonymousBytes(position: number, since: number): number {
    const from = Math.max(position, this.oldest);
    if (from > this.#last) return 0;
    const counts = this.#slotRuns({ from, to: this.#last }).map(([start, end]) =>
      this.#storage.sql
        .exec<{ bytes: number }>(
          `SELECT coalesce(sum(octet_length(payload) + octet_length(client)), 0) AS bytes FROM log
           WHERE slot BETWEEN ? AND ? AND time >= ? AND client ->> '$.permissions.dbo_id' = 0`,
          start,
          end,
          since,
        )
        .one(),
    );
    return counts.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /**
   * Returns the next batch for the archive, undefined if all messages are archived. The batch has at least one message,
   * even if that one exceeds `maxBytes`.
   *
   * @param maxBytes The limit for the payloads and the distinct senders of the batch, in bytes of UTF-8.
   */
  unarchived(maxRows: number, maxBytes: number): ArchiveBatch | undefined {
    if (this.backlog === 0) return undefined;
    const [slots] = this.#slotRuns({ from: this.archived + 1, to: Math.min(this.archived + maxRows, this.#last) });
    const [start, end] = this.#fitting(slots, maxBytes);
    // SQLite builds the JSON text for D1 in a quarter of the time that converting rows to objects and back would take.
    const { since, rows, clients } = this.#storage.sql
      .exec<{ since: number; rows: string; clients: string }>(
        `WITH batch AS (SELECT * FROM log WHERE slot BETWEEN ? AND ?),
           senders AS MATERIALIZED (
             SELECT client, row_number() OVER () - 1 AS place
             FROM (SELECT DISTINCT client FROM batch WHERE client IS NOT NULL))
         SELECT min(time) AS since, json_group_array(json_array(seq, time, action, place, database, payload, type)) AS rows,
           (SELECT json_group_array(client) FROM (SELECT client FROM senders ORDER BY place)) AS clients
         FROM batch LEFT JOIN senders USING (client)`,
        start,
        end,
      )
      .one();
    const count = end - start + 1;
    return { count, last: this.archived + count, since, rows, clients };
  }

  /**
   * Returns the longest prefix of these slots, found by halving, whose text has at most `maxBytes`; at least the first
   * slot.
   */
  #fitting([start, end]: SlotRun, maxBytes: number): SlotRun {
    if (start === end) return [start, end];
    const { bytes } = this.#storage.sql
      .exec<{ bytes: number }>(
        `WITH batch AS (SELECT client, payload FROM log WHERE slot BETWEEN ? AND ?)
         SELECT (SELECT sum(octet_length(payload)) FROM batch) +
           (SELECT coalesce(sum(octet_length(client)), 0) FROM (SELECT DISTINCT client FROM batch)) AS bytes`,
        start,
        end,
      )
      .one();
    if (bytes <= maxBytes) return [start, end];
    return this.#fitting([start, Math.floor((start + end) / 2)], maxBytes);
  }

  /** Records that all messages up to `seq` are archived, so their slots may be overwritten. */
  markArchived(seq: number): void {
    this.#mark({ first: this.#marks?.first ?? 1, archived: seq, keyed: this.#lastKeyed });
  }

  #create(marks: Marks): void {
    this.#storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS log (slot INTEGER PRIMARY KEY, seq INTEGER NOT NULL, time INTEGER NOT NULL,
         action TEXT NOT NULL, client TEXT, database TEXT, payload TEXT NOT NULL, type TEXT, key TEXT,
         digest INTEGER)`,
    );
    this.#mark(marks);
  }

  /** Adds the columns that a table of an earlier version lacks. */
  #addColumns(marks: Marks): void {
    this.#storage.transactionSync(() => {
      this.#storage.sql.exec("ALTER TABLE log ADD COLUMN type TEXT");
      this.#storage.sql.exec("ALTER TABLE log ADD COLUMN key TEXT");
      this.#storage.sql.exec("ALTER TABLE log ADD COLUMN digest INTEGER");
      this.#mark({ ...marks, keyed: 0 });
    });
  }

  #mark(marks: Marks): void {
    this.#storage.kv.put("log", marks);
    this.#marks = marks;
  }

  #write(run: readonly StoredMessage[], keys: readonly Key[] | undefined): void {
    const [first] = run;
    if (first && run.length > 1) this.#writeRun(first, run, keys);
    else if (first) this.#writeOne(first, keys?.[0]);
  }

  #writeOne({ seq, time, action, client, database, payload, type }: StoredMessage, key: Key | undefined): void {
    this.#storage.sql.exec(
      "REPLACE INTO log (slot, seq, time, action, client, database, payload, type, key, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
      seq % this.#capacity,
      seq,
      time,
      action,
      client,
      database,
      payload,
      type,
      key?.key ?? null,
      key?.digest ?? null,
    );
  }

  /**
   * Uses one statement for all messages. A hundred messages take a quarter of the time of a hundred statements, because
   * the parameters are converted only once.
   */
  #writeRun(
    { seq, time, action, client, database, type }: StoredMessage,
    run: readonly StoredMessage[],
    keys: readonly Key[] | undefined,
  ): void {
    const [payload, key] = keys ? ["value ->> 0", "value ->> 1, value ->> 2"] : ["value", "NULL, NULL"];
    this.#storage.sql.exec(
      `REPLACE INTO log (slot, seq, time, action, client, database, payload, type, key, digest)
       SELECT (?1 + key) % ?2, ?1 + key, ?3, ?4, ?5, ?6, ${payload}, ?8, ${key} FROM json_each(?7)`,
      seq,
      this.#capacity,
      time,
      action,
      client,
      database,
      JSON.stringify(
        run.map((message, index) =>
          keys ? [message.payload, keys[index]?.key, keys[index]?.digest] : message.payload,
        ),
      ),
      type,
    );
  }

  /**
   * Finds the last `seq`, starting at a position that the log has reached. Reads one row per message of the backlog.
   */
  #findLast(reached: number): void {
    this.#last = reached;
    for (let seq = reached; ; seq++) {
      const [row] = this.#storage.sql.exec<{ seq: number; time: number; isKeyed: number }>(
        "SELECT seq, time, key IS NOT NULL AS isKeyed FROM log WHERE slot = ?",
        seq % this.#capacity,
      );
      if (row?.seq === seq) {
        [this.#last, this.#lastTime] = [seq, row.time];
        if (row.isKeyed === 1) this.#lastKeyed = seq;
      } else if (seq > reached) return;
    }
  }

  /** Converts a range of positions to runs of slots: two if the range crosses the end of the ring, else one. */
  #slotRuns({ from, to }: Range): [SlotRun, ...SlotRun[]] {
    const [start, end] = [from % this.#capacity, to % this.#capacity];
    if (start <= end) return [[start, end]];
    return [
      [start, this.#capacity - 1],
      [0, end],
    ];
  }
}

/** Returns a message as readers get it. A key is known only to its sender. */
export function withoutKey(message: LoggedMessage): StoredMessage {
  const { key: _, ...stored } = message;
  return stored;
}

/** Consecutive slots, both ends included. */
type SlotRun = [start: number, end: number];

type Row = LoggedMessage & Record<string, SqlStorageValue>;
