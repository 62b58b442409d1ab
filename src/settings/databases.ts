import { asc, eq, gt, sql } from "drizzle-orm";
import { drizzle, type DrizzleD1Database } from "drizzle-orm/d1";
import { databases } from "../archive/schema.ts";
import { type AuthDatabase, withTrueAlgorithm } from "../protocol/auth-database.ts";
import { type Revocations, revoked } from "./revocations.ts";

export interface NamedDatabase {
  database: string;
  config: AuthDatabase;
}

/** An auth database, with what is needed to verify its tokens. */
export interface VerifyingDatabase extends AuthDatabase {
  /** Whether another database verifies tokens with the same key; undefined if that is not known. */
  sharesKeys?: boolean;
  /** The revoked tokens. */
  revocations?: Revocations;
}

/** A stored database that conflicts with the configuration of another one. */
export interface Conflict {
  name: string;
  /**
   * Whether both have the same `dbo_id`. Otherwise both have the same key and audience, so each would accept the
   * other's tokens.
   */
  hasNumber: boolean;
}

/**
 * SQL: whether another database has a key of the database in `databases`. Two databases with different issuers do not
 * count, because their tokens can be told apart by the issuer.
 */
export const SHARES_KEYS = sql<number>`EXISTS (
  SELECT 1 FROM database_keys AS own
  JOIN database_keys AS other ON other.key = own.key AND other.name <> own.name
  JOIN databases AS rival ON rival.name = other.name
  WHERE own.name = databases.name
    AND coalesce(rival.config ->> 'issuer' = databases.config ->> 'issuer', 1))`;

/**
 * SQL: the databases that conflict with a configuration. They have the same number, or they have one of its keys and
 * its audience without having a different issuer.
 */
const CONFLICTS = `SELECT name, dbo_id = ?2 AS hasNumber FROM databases
  WHERE name <> ?1 AND (dbo_id = ?2
    OR (name IN (SELECT name FROM database_keys WHERE key IN (SELECT value FROM json_each(?4)))
      AND config ->> 'audience' = ?3 ->> 'audience'
      AND coalesce(config ->> 'issuer' = ?3 ->> 'issuer', 1)))`;

/** The auth databases in D1. Every method throws if D1 does not answer. */
export class DatabaseStore {
  readonly #d1: D1Database;
  readonly #db: DrizzleD1Database;

  constructor(database: D1Database) {
    this.#d1 = database;
    this.#db = drizzle(database);
  }

  /** Returns a configuration, null if there is no such database. */
  async get(name: string): Promise<AuthDatabase | null> {
    const row = await this.#db
      .select({ config: databases.config })
      .from(databases)
      .where(eq(databases.name, name))
      .get();
    return row ? withTrueAlgorithm(row.config) : null;
  }

  /** Returns at most `limit` databases with names after `after`, in order. */
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
   * Stores a configuration, unless it conflicts with a stored one. One statement checks and writes. So if two
   * conflicting configurations arrive at once, the second is refused.
   *
   * @returns The conflicting database, null if the configuration was stored.
   */
  async put(name: string, config: AuthDatabase): Promise<Conflict | null> {
    const values = [name, config.dbo_id, JSON.stringify(config), JSON.stringify(keysOf(config))];
    const write = `INSERT INTO databases (name, dbo_id, config) SELECT ?1, ?2, ?3 WHERE NOT EXISTS (${CONFLICTS})
      ON CONFLICT (name) DO UPDATE SET dbo_id = excluded.dbo_id, config = excluded.config RETURNING name`;
    const written = await this.#d1
      .prepare(write)
      .bind(...values)
      .all();
    if (written.results.length > 0) return null;
    const conflict = await this.#d1
      .prepare(`${CONFLICTS} LIMIT 1`)
      .bind(...values)
      .first<{ name: string; hasNumber: number }>();
    if (!conflict) throw new Error("the conflicting auth database was removed in the meantime");
    return { name: conflict.name, hasNumber: conflict.hasNumber === 1 };
  }

  /**
   * Revokes the tokens that were issued until now, for one user, or for all users if there is no id. Tries again if
   * another revocation was stored at the same time.
   *
   * @param now In milliseconds since the epoch.
   * @returns `stored`; `missing` if there is no such database; `full` if as many users are revoked as may be.
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

/** Returns the keys of a configuration in the form in which D1's triggers write them into `database_keys`. */
function keysOf({ secret, jwks_url, jwks }: AuthDatabase): string[] {
  if (secret !== undefined) return [`secret:${secret}`];
  if (jwks_url !== undefined) return [`url:${jwks_url.toLowerCase()}`];
  const keys = (jwks?.keys ?? []) as { n?: unknown; x?: unknown }[];
  return keys.flatMap(({ n, x }) => (typeof (n ?? x) === "string" ? `key:${String(n ?? x)}` : []));
}
