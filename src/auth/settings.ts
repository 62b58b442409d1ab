import { asc, eq, gt, sql } from "drizzle-orm";
import { drizzle, type DrizzleD1Database } from "drizzle-orm/d1";
import * as v from "valibot";
import { channels, databases } from "../history/schema.ts";
import { type ChannelSettings, StoredSettings } from "../protocol/schemas.ts";
import { SHARES_KEYS, type VerifyingDatabase } from "./databases.ts";

/** Settings, and the name or pattern that they are stored for. */
export interface NamedSettings {
  channel: string;
  settings: ChannelSettings;
}

/** The settings that hold for a channel. */
export interface EffectiveSettings extends NamedSettings {
  /** How the users of the auth database that the settings name are verified, null if there is none of that name. */
  authDatabase: VerifyingDatabase | null;
}

/** Settings in D1. Every method may throw where D1 does not answer. */
export class SettingsStore {
  readonly #db: DrizzleD1Database;

  constructor(database: D1Database) {
    this.#db = drizzle(database);
  }

  /** What holds for a channel: the nearest of what is stored for it and above it; null where nothing does. */
  async resolve(channel: string): Promise<EffectiveSettings | null> {
    const candidates = candidatesFor(channel);
    const names = JSON.stringify(candidates);
    const rows = await this.#db
      .select({
        name: channels.name,
        settings: channels.settings,
        authDatabase: databases.config,
        sharesKeys: SHARES_KEYS,
        revocations: databases.revocations,
      })
      .from(channels)
      .leftJoin(databases, sql`${databases.name} = ${channels.settings} ->> 'database'`)
      .where(sql`${channels.name} IN (SELECT value FROM json_each(${names}))`);
    const found = new Map(
      rows.map(({ authDatabase, sharesKeys, revocations, ...row }) => {
        const verifying = authDatabase && {
          ...authDatabase,
          sharesKeys: sharesKeys === 1,
          revocations: revocations ?? {},
        };
        return [row.name, { ...parsed(row), authDatabase: verifying }];
      }),
    );
    for (const name of candidates) {
      const stored = found.get(name);
      if (stored && (name === channel || name.endsWith("*") || stored.settings.nested_channels)) return stored;
    }
    return null;
  }

  /** What is stored for just this name or pattern. */
  async get(name: string): Promise<NamedSettings | null> {
    const row = await this.#db.select().from(channels).where(eq(channels.name, name)).get();
    return row ? parsed(row) : null;
  }

  async list(after: string, limit: number): Promise<NamedSettings[]> {
    const rows = await this.#db
      .select()
      .from(channels)
      .where(gt(channels.name, after))
      .orderBy(asc(channels.name))
      .limit(limit);
    return rows.map(parsed);
  }

  async put(name: string, settings: ChannelSettings): Promise<void> {
    await this.#db
      .insert(channels)
      .values({ name, settings })
      .onConflictDoUpdate({ target: channels.name, set: { settings } });
  }

  async delete(name: string): Promise<void> {
    await this.#db.delete(channels).where(eq(channels.name, name));
  }
}

/** The names under which settings for a channel may be stored, the nearest first: `a/b`, `a/*`, `a`, `*`. */
export function candidatesFor(channel: string): string[] {
  const segments = channel.split("/");
  const above = segments.slice(1).flatMap((_, index) => {
    const parent = segments.slice(0, segments.length - 1 - index).join("/");
    return [`${parent}/*`, parent];
  });
  return [channel, ...above, "*"];
}

function parsed({ name, settings }: typeof channels.$inferSelect): NamedSettings {
  return { channel: name, settings: v.parse(StoredSettings, settings) };
}
