import { asc, eq, gt, sql } from "drizzle-orm";
import { drizzle, type DrizzleD1Database } from "drizzle-orm/d1";
import { databases } from "../history/schema.ts";
import { type AuthDatabase, withTrueAlgorithm } from "../protocol/schemas.ts";
import { type Revocations, revoked } from "./revocations.ts";

export interface NamedDatabase {
  database: string;
  config: AuthDatabase;
}

/** An auth database as tokens are verified by it. */
export interface VerifyingDatabase extends AuthDatabase {
  /** Whether another database would verify its tokens with the same key; undefined if that is not known. */
  sharesKeys?: boolean;
  /** Whose tokens are revoked, and until when. */
  revocations?: Revocations;
}

/** A stored database that stands in the way of another one's configuration. */
export interface Obstacle {
  name: string;
  /** Whether both have the same number; otherwise each would accept tokens of the other. */
  hasNumber: boolean;
}

/**
 * SQL: whether another database has a key of the database in `databases`. Where both have issuers, and different ones, the
 * tokens are told apart by them.
 */
export const SHARES_KEYS = sql<number>`EXISTS (
  SELECT 1 FROM database_keys AS own
  JOIN database_keys AS other ON other.key = own.key AND other.name <> own.name
  JOIN databases AS rival ON rival.name = other.name
  WHERE own.name = databases.name
    AND coalesce(rival.config ->> 'issuer' = databases.config ->> 'issuer', 1))`;

/**
 * SQL: the databases that a configuration cannot be stored beside: one that has its number, or one that has one of its keys
 * and its audience, and whose issuer is not another one.
 */
const OBSTACLES = `SELECT name, dbo_id = ?2 AS hasNumber FROM databases
  WHERE name <> ?1 AND (dbo_id = ?2
    OR (name IN (SELECT name FROM database_keys WHERE key IN (SELECT value FROM json_each(?4)))
      AND config ->> 'audience' = ?3 ->> 'audience'
      AND coalesce(config ->> 'issuer' = ?3 ->> 'issuer', 1)))`;

/** The auth databases in D1. Every method may throw where D1 does not answer. */
export class DatabaseStore {
  readonly #d1: D1Database;
  readonly #db: DrizzleD1Database;

  constructor(database: D1Database) {
    this.#d1 = database;
    this.#db = drizzle(database);
  }

  async get(name: string): Promise<AuthDatabase | null> {
    const row = await this.#db
      .select({ config: databases.config })
      .from(databases)
      .where(eq(databases.name, name))
      .get();
    return row ? withTrueAlgorithm(row.config) : null;
  }

  async list(after: string, limit: number): Promise<NamedDatabase[]> {
    const rows = await this.#db
      .select({ name: databases.name, config: databases.config })
      .from(databases)
      .where(gt(databases.name, after))
      .orderBy(asc(databases.name))
      .limit(limit);
    return rows.map(({ name, config }) => ({ database: name, config: withTrueAlgorithm(config) }));
  }

  /**
   * Stores a configuration, unless a stored one stands in its way. One statement decides and writes, so of two configurations
   * that arrive at once only one passes.
   *
   * @returns What stands in its way, null if it was stored.
   */
  async put(name: string, config: AuthDatabase): Promise<Obstacle | null> {
    const values = [name, config.dbo_id, JSON.stringify(config), JSON.stringify(keysOf(config))];
    const write = `INSERT INTO databases (name, dbo_id, config) SELECT ?1, ?2, ?3 WHERE NOT EXISTS (${OBSTACLES})
      ON CONFLICT (name) DO UPDATE SET dbo_id = excluded.dbo_id, config = excluded.config RETURNING name`;
    const written = await this.#d1
      .prepare(write)
      .bind(...values)
      .all();
    if (written.results.length > 0) return null;
    const obstacle = await this.#d1
      .prepare(`${OBSTACLES} LIMIT 1`)
      .bind(...values)
      .first<{ name: string; hasNumber: number }>();
    if (!obstacle) throw new Error("what stood in the way is gone");
    return { name: obstacle.name, hasNumber: obstacle.hasNumber === 1 };
  }

  /**
   * Revokes the tokens that a user has by now, or all users have if there is no id. Repeats itself if another revocation was
   * stored meanwhile.
   *
   * @returns Whether it is stored; `missing` if there is no such database, `full` if as many users are revoked as can be.
   */
  async revoke(name: string, id: number | string | undefined, now: number): Promise<"stored" | "missing" | "full"> {
    const select = this.#d1.prepare("SELECT revocations FROM databases WHERE name = ?").bind(name);
    for (;;) {
      const row = await select.first<{ revocations: string }>();
      if (!row) return "missing";
      const changed = revoked(JSON.parse(row.revocations) as Revocations, id, now);
      if (!changed) return "full";
      const { meta } = await this.#d1
        .prepare("UPDATE databases SET revocations = ?1 WHERE name = ?2 AND revocations = ?3")
        .bind(JSON.stringify(changed), name, row.revocations)
        .run();
      if (meta.changes > 0) return "stored";
    }
  }

  async delete(name: string): Promise<void> {
    await this.#db.delete(databases).where(eq(databases.name, name));
  }
}

/** The keys of a configuration, as D1's triggers write them into `database_keys`. */
function keysOf({ secret, jwks_url, jwks }: AuthDatabase): string[] {
  if (secret !== undefined) return [`secret:${secret}`];
  if (jwks_url !== undefined) return [`url:${jwks_url.toLowerCase()}`];
  const keys = (jwks?.keys ?? []) as { n?: unknown; x?: unknown }[];
  return keys.flatMap(({ n, x }) => (typeof (n ?? x) === "string" ? `key:${String(n ?? x)}` : []));
}
