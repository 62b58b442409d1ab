import type { StoredMessage } from "../protocol/frames.ts";
import type { Range } from "../history/range.ts";
import { searchByTime } from "../history/bisect.ts";
import { LOG_CAPACITY } from "../protocol/limits.ts";

/** A message before it has its place in the order. */
export type NewMessage = Pick<StoredMessage, "action" | "client" | "database" | "payload">;

/** Where a message is in its channel. `time` in milliseconds since the epoch. */
export type Place = Pick<StoredMessage, "seq" | "time">;

/** What the log keeps beside its rows, in one row of its own: written once an archived batch, not once a message. */
interface Marks {
  /** The first `seq` that this log ever held: 1, unless it was restored from the archive. */
  first: number;
  /** Every message up to this `seq` is in the archive. */
  archived: number;
}

/**
 * A channel's latest messages, in its Durable Object's SQLite: the write-ahead log of the archive and the source of
 * history and resume.
 *
 * It is a ring: a message's slot is its `seq` modulo the capacity, and an append overwrites the slot's former message.
 * So a message costs one row written, and none is ever deleted. A message is only overwritten once it is archived.
 *
 * Everything here is synchronous. What is written in one turn is committed as one, and the runtime's output gate holds
 * back every frame and answer until that commit is durable
 * (https://developers.cloudflare.com/durable-objects/reference/in-memory-state/).
 */
export class Log {
  readonly #storage: DurableObjectStorage;
  readonly #capacity: number;
  #marks: Marks | undefined;
  #last = 0;
  #lastTime = 0;

  constructor(storage: DurableObjectStorage, capacity = LOG_CAPACITY) {
    this.#storage = storage;
    this.#capacity = capacity;
    storage.sql.exec(
      `CREATE TABLE IF NOT EXISTS log (slot INTEGER PRIMARY KEY, seq INTEGER NOT NULL, time INTEGER NOT NULL,
         action TEXT NOT NULL, client TEXT, database TEXT, payload TEXT NOT NULL)`,
    );
    this.#marks = storage.kv.get<Marks>("log");
    if (this.#marks) this.#findLast(this.#marks.archived);
  }

  /** Whether the log knows where the channel's numbering stands. A new one has to be told by `start`. */
  get started(): boolean {
    return this.#marks !== undefined;
  }

  /** The channel's last `seq`, 0 where it has no message. */
  get last(): number {
    return this.#last;
  }

  /** The first `seq` still held; `last + 1` where there is none. */
  get oldest(): number {
    return Math.max(this.#marks?.first ?? 1, this.#last - this.#capacity + 1);
  }

  /** Every message up to this `seq` is in the archive. */
  get archived(): number {
    return this.#marks?.archived ?? 0;
  }

  /** How many messages wait to be archived. */
  get backlog(): number {
    return this.#last - this.archived;
  }

  /** How many messages it can hold. */
  get capacity(): number {
    return this.#capacity;
  }

  /** How many messages can be appended before one that is not archived would be overwritten. */
  get room(): number {
    return this.#capacity - this.backlog;
  }

  /** Begins the log with what the archive knows: its latest messages, oldest first and without a gap. */
  start(archived: readonly StoredMessage[]): void {
    const last = archived.at(-1);
    this.#storage.transactionSync(() => {
      for (const message of archived) this.#write(message);
      this.#mark({ first: archived[0]?.seq ?? 1, archived: last?.seq ?? 0 });
    });
    this.#last = last?.seq ?? 0;
    this.#lastTime = last?.time ?? 0;
  }

  /**
   * Stores a message and gives it its place. The caller has seen that there is room.
   *
   * @param within Stores what belongs to the message, in one transaction with it.
   */
  append(message: NewMessage, within?: (place: Place) => void): StoredMessage {
    // A clock may step back; history's times do not.
    const stored = { seq: this.#last + 1, time: Math.max(Date.now(), this.#lastTime), ...message };
    if (within) {
      this.#storage.transactionSync(() => {
        this.#write(stored);
        within({ seq: stored.seq, time: stored.time });
      });
    } else {
      this.#write(stored);
    }
    this.#last = stored.seq;
    this.#lastTime = stored.time;
    return stored;
  }

  /** The messages of a range that the log still holds, in either order, read as they are asked for. */
  *read({ from, to }: Range, order: "ASC" | "DESC" = "ASC"): Generator<StoredMessage> {
    const held = { from: Math.max(from, this.oldest), to: Math.min(to, this.#last) };
    if (held.from > held.to) return;
    const runs = this.#slotRuns(held);
    for (const [start, end] of order === "ASC" ? runs : runs.toReversed()) {
      yield* this.#storage.sql.exec<Row>(
        `SELECT seq, time, action, client, database, payload FROM log WHERE slot BETWEEN ? AND ? ORDER BY slot ${order}`,
        start,
        end,
      );
    }
  }

  /**
   * For each of the times, in milliseconds since the epoch, the first position held whose message is of then or later;
   * `last + 1` where there is none.
   */
  positionsAt(times: readonly number[]): number[] {
    const query = searchByTime(`log ON slot = (low + high) / 2 % ${this.#capacity}`);
    const found = this.#storage.sql.exec<{ position: number }>(
      query,
      JSON.stringify(times),
      this.oldest,
      this.#last + 1,
    );
    return [...found].map(({ position }) => position);
  }

  /** The messages that wait to be archived, oldest first. */
  unarchived(): Generator<StoredMessage> {
    return this.read({ from: this.archived + 1, to: this.#last });
  }

  /** Notes that all messages up to `seq` are archived: their slots may be used again. */
  markArchived(seq: number): void {
    this.#mark({ first: this.#marks?.first ?? 1, archived: seq });
  }

  #mark(marks: Marks): void {
    this.#storage.kv.put("log", marks);
    this.#marks = marks;
  }

  #write({ seq, time, action, client, database, payload }: StoredMessage): void {
    this.#storage.sql.exec(
      `INSERT INTO log (slot, seq, time, action, client, database, payload) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (slot) DO UPDATE SET seq = excluded.seq, time = excluded.time, action = excluded.action,
         client = excluded.client, database = excluded.database, payload = excluded.payload`,
      seq % this.#capacity,
      seq,
      time,
      action,
      client,
      database,
      payload,
    );
  }

  /** Walks from a position known to have been reached to the last one: one row read for each message of the backlog. */
  #findLast(known: number): void {
    this.#last = known;
    for (let seq = known; ; seq++) {
      const [row] = this.#storage.sql.exec<{ seq: number; time: number }>(
        "SELECT seq, time FROM log WHERE slot = ?",
        seq % this.#capacity,
      );
      if (row?.seq === seq) [this.#last, this.#lastTime] = [seq, row.time];
      else if (seq > known) return;
    }
  }

  /** A range of positions as one or, past the ring's seam, two ranges of slots. */
  #slotRuns({ from, to }: Range): [number, number][] {
    const [start, end] = [from % this.#capacity, to % this.#capacity];
    if (start <= end) return [[start, end]];
    return [
      [start, this.#capacity - 1],
      [0, end],
    ];
  }
}

type Row = StoredMessage & Record<string, SqlStorageValue>;
