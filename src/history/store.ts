import { and, desc, eq, sql } from "drizzle-orm";
import { drizzle, type DrizzleD1Database } from "drizzle-orm/d1";
import type { StoredMessage } from "../protocol/frames.ts";
import type { Direction, Range } from "./range.ts";
import { messages } from "./schema.ts";
import { searchByTime } from "./bisect.ts";
import { blockEndSql, type Reader } from "./times.ts";

/** Messages on their way to the archive. D1 takes 2,000,000 bytes of UTF-8 a parameter: so much may each text hold. */
export interface ArchiveBatch {
  /** JSON: `[[seq, time, action, sender, database, payload], …]`, where `sender` is an index into `clients` or null. */
  rows: string;
  /** JSON: an array with each sender of these messages once. */
  clients: string;
  count: number;
  /** The last one's `seq`. */
  last: number;
  /** When the first was published, in milliseconds since the epoch. */
  since: number;
}

/** The archive in D1; the only place that queries its messages. Every method may throw where D1 does not answer. */
export class HistoryStore {
  readonly #database: D1Database;
  readonly #db: DrizzleD1Database;

  constructor(database: D1Database) {
    this.#database = database;
    this.#db = drizzle(database);
  }

  /**
   * Stores many messages by one statement. Repeating it is harmless: what is there already stays as it is.
   *
   * The rows travel as one JSON parameter, since D1 binds at most 100 parameters to a statement, and the senders as another.
   */
  async append(channel: string, { rows, clients }: Pick<ArchiveBatch, "rows" | "clients">): Promise<void> {
    // MATERIALIZED: otherwise SQLite would go through all senders for each row instead of indexing them once.
    // WHERE true: without it SQLite reads ON CONFLICT as the join's (https://sqlite.org/lang_upsert.html, section 2.2).
    await this.#db.run(sql`
      WITH senders AS MATERIALIZED (SELECT key AS place, value AS client FROM json_each(${clients}))
      INSERT INTO ${messages} (channel, seq, time, action, client, database, payload)
      SELECT ${channel}, value ->> 0, value ->> 1, value ->> 2, client, value ->> 4, value ->> 5
      FROM json_each(${rows}) LEFT JOIN senders ON place = value ->> 3 WHERE true
      ON CONFLICT DO NOTHING`);
  }

  /** Checks that D1 takes messages, by one that it stores and deletes in one transaction; no real message has its `seq`. */
  async probe(channel: string): Promise<void> {
    const row = { channel, seq: 0, time: 0, action: "event" as const, client: null, database: null, payload: "null" };
    await this.#db.batch([
      this.#db.insert(messages).values(row).onConflictDoNothing(),
      this.#db.delete(messages).where(and(eq(messages.channel, channel), eq(messages.seq, 0))),
    ]);
  }

  /** The `seq` of the channel's last archived message, 0 where there is none. */
  async lastSeq(channel: string): Promise<number> {
    const last = await this.#db
      .select({ seq: messages.seq })
      .from(messages)
      .where(eq(messages.channel, channel))
      .orderBy(desc(messages.seq))
      .limit(1)
      .get();
    return last?.seq ?? 0;
  }

  /**
   * Returns the messages of a range that exist, oldest first: at most `limit`, from the near end of the direction. Where
   * their text passes the byte budget, those at the far end are left out, by D1 itself: they would not fit into memory
   * here. At least one is given.
   */
  async read(
    channel: string,
    { from, to }: Range,
    direction: Direction,
    budget: number,
    limit = to - from + 1,
  ): Promise<StoredMessage[]> {
    if (from > to) return [];
    const order = sql.raw(direction === "forward" ? "ASC" : "DESC");
    return this.#db.all<StoredMessage>(sql`
      SELECT seq, time, action, client, database, payload FROM (
        SELECT *, sum(text) OVER (ORDER BY seq ${order}) - text AS text_before FROM (
          SELECT *, length(payload) + coalesce(length(client), 0) AS text FROM ${messages} WHERE channel = ${channel} AND seq BETWEEN ${from} AND ${to}
          ORDER BY seq ${order} LIMIT ${limit}
        )
      ) WHERE text_before < ${budget} ORDER BY seq`);
  }

  /**
   * For each of the times, in milliseconds since the epoch, the first position whose message exists and is of then or later,
   * out of those from 1 to `end`; `end` where there is none before it. Among 90,000 messages D1 reads 53 rows for a time.
   *
   * @param reader For whom it is the first message that the reader may see, or the end of its block if there is none; D1 then
   *   reads the rows of one block at most.
   */
  async positionsAt(channel: string, times: readonly number[], end: number, reader?: Reader): Promise<number[]> {
    const table = `messages ON channel = ?4 AND seq = ${firstFrom("(low + high) / 2")}`;
    const { results } = await this.#database
      .prepare(searchByTime(table, reader ? FIRST_VISIBLE : firstFrom("low")))
      .bind(JSON.stringify(times), 1, end, channel, ...(reader ? [reader.database] : []))
      .all<{ position: number }>();
    return results.map(({ position }) => position);
  }
}

/** SQL for the first position from `low` on whose message may be seen, or the position after the block of `low` (times.ts). */
const LOW_BLOCK_END = blockEndSql("low");
const FIRST_VISIBLE = `coalesce(
  (SELECT seq FROM messages WHERE channel = ?4 AND seq BETWEEN low AND min(${LOW_BLOCK_END}, ?3 - 1)
     AND (database IS NULL OR database = ?5) ORDER BY seq LIMIT 1),
  min(${LOW_BLOCK_END} + 1, ?3))`;

/** SQL for the first position at or after another one whose message exists. */
const firstFrom = (position: string) =>
  `(SELECT min(seq) FROM messages WHERE channel = ?4 AND seq BETWEEN ${position} AND ?3 - 1)`;
