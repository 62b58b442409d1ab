import { and, desc, eq, sql } from "drizzle-orm";
import { drizzle, type DrizzleD1Database } from "drizzle-orm/d1";
import type { StoredMessage } from "../protocol/frames.ts";
import type { Direction, Range } from "./range.ts";
import { messages } from "./schema.ts";
import { searchByTime } from "./bisect.ts";
import { blockEndSql, type Reader } from "./times.ts";

/**
 * A batch of messages for the archive. D1 accepts at most 2,000,000 bytes of UTF-8 per parameter, which limits each
 * text.
 */
export interface ArchiveBatch {
  /** JSON: `[[seq, time, action, sender, database, payload, type], …]`, with `sender` an index into `clients`, or null. */
  rows: string;
  /** JSON: an array of the distinct senders of these messages. */
  clients: string;
  count: number;
  /** The `seq` of the last message. */
  last: number;
  /** The time of the first message, in milliseconds since the epoch. */
  since: number;
}

/** The archive in D1. No other code queries its messages. Every method throws if D1 does not answer. */
export class HistoryStore {
  readonly #database: D1Database;
  readonly #db: DrizzleD1Database;

  constructor(database: D1Database) {
    this.#database = database;
    this.#db = drizzle(database);
  }

  /**
   * Stores a batch with one statement. Repeating it is harmless, because messages that are stored already do not
   * change.
   *
   * The rows are one JSON parameter, because D1 binds at most 100 parameters per statement. The senders are another.
   */
  async append(channel: string, { rows, clients }: Pick<ArchiveBatch, "rows" | "clients">): Promise<void> {
    // MATERIALIZED: otherwise SQLite would scan all senders for each row instead of indexing them once. WHERE true:
    // otherwise SQLite would parse ON CONFLICT as part of the join (https://sqlite.org/lang_upsert.html, section 2.2).
    await this.#db.run(sql`
      WITH senders AS MATERIALIZED (SELECT key AS place, value AS client FROM json_each(${clients}))
      INSERT INTO ${messages} (channel, seq, time, action, client, database, payload, type)
      SELECT ${channel}, value ->> 0, value ->> 1, value ->> 2, client, value ->> 4, value ->> 5, value ->> 6
      FROM json_each(${rows}) LEFT JOIN senders ON place = value ->> 3 WHERE true
      ON CONFLICT DO NOTHING`);
  }

  /**
   * Checks that D1 accepts messages: stores and deletes one in a transaction. Its `seq` is 0, which no real message
   * has. Throws if D1 refuses.
   */
  async probe(channel: string): Promise<void> {
    const row = { channel, seq: 0, time: 0, action: "event" as const, client: null, database: null, payload: "null" };
    await this.#db.batch([
      this.#db.insert(messages).values(row).onConflictDoNothing(),
      this.#db.delete(messages).where(and(eq(messages.channel, channel), eq(messages.seq, 0))),
    ]);
  }

  /** Returns the `seq` of the channel's last archived message, 0 if there is none. */
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
   * Returns the messages of a range that exist, oldest first: at most `limit`, from the end where the direction begins.
   * D1 itself leaves out messages at the other end if the text exceeds the budget, because they would not fit into
   * memory here. Returns at least one message if any exists.
   *
   * @param budget The text of the messages, in characters.
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
      SELECT seq, time, action, client, database, type, payload FROM (
        SELECT *, sum(text) OVER (ORDER BY seq ${order}) - text AS text_before FROM (
          SELECT *, length(payload) + coalesce(length(client), 0) AS text FROM ${messages} WHERE channel = ${channel} AND seq BETWEEN ${from} AND ${to}
          ORDER BY seq ${order} LIMIT ${limit}
        )
      ) WHERE text_before < ${budget} ORDER BY seq`);
  }

  /**
   * Returns, for each time, the first position from 1 to `end` whose message exists and has that time or a later one;
   * `end` if there is none. Among 90,000 messages D1 reads 53 rows per time.
   *
   * @param times In milliseconds since the epoch.
   * @param reader If given, returns the first position from there on that this reader may see, or the end of its block
   *   if there is none. D1 then also reads the rows of at most one block.
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

/**
 * SQL for the first position from `low` on whose message the reader may see, or the position after the block of `low`
 * (times.ts).
 */
const LOW_BLOCK_END = blockEndSql("low");
const FIRST_VISIBLE = `coalesce(
  (SELECT seq FROM messages WHERE channel = ?4 AND seq BETWEEN low AND min(${LOW_BLOCK_END}, ?3 - 1)
     AND (database IS NULL OR database = ?5) ORDER BY seq LIMIT 1),
  min(${LOW_BLOCK_END} + 1, ?3))`;

/** Returns SQL for the first position from another position on whose message exists. */
const firstFrom = (position: string) =>
  `(SELECT min(seq) FROM messages WHERE channel = ?4 AND seq BETWEEN ${position} AND ?3 - 1)`;
