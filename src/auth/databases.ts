import { asc, eq, gt } from "drizzle-orm";
import { drizzle, type DrizzleD1Database } from "drizzle-orm/d1";
import { databases } from "../history/schema.ts";
import type { AuthDatabase } from "../protocol/schemas.ts";

export interface NamedDatabase {
  database: string;
  config: AuthDatabase;
}

/** The auth databases in D1. Every method may throw where D1 does not answer. */
export class DatabaseStore {
  readonly #db: DrizzleD1Database;

  constructor(database: D1Database) {
    this.#db = drizzle(database);
  }

  async get(name: string): Promise<AuthDatabase | null> {
    const row = await this.#db.select().from(databases).where(eq(databases.name, name)).get();
    return row?.config ?? null;
  }

  async list(after: string, limit: number): Promise<NamedDatabase[]> {
    const rows = await this.#db
      .select()
      .from(databases)
      .where(gt(databases.name, after))
      .orderBy(asc(databases.name))
      .limit(limit);
    return rows.map(({ name, config }) => ({ database: name, config }));
  }

  /** The name of the database that has a number, where one does. */
  async nameOf(dboId: number): Promise<string | null> {
    const row = await this.#db.select().from(databases).where(eq(databases.dbo_id, dboId)).get();
    return row?.name ?? null;
  }

  async put(name: string, config: AuthDatabase): Promise<void> {
    const row = { dbo_id: config.dbo_id, config };
    await this.#db
      .insert(databases)
      .values({ name, ...row })
      .onConflictDoUpdate({ target: databases.name, set: row });
  }

  async delete(name: string): Promise<void> {
    await this.#db.delete(databases).where(eq(databases.name, name));
  }
}
