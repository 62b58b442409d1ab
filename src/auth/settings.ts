import { eq } from "drizzle-orm";
import { drizzle, type DrizzleD1Database } from "drizzle-orm/d1";
import * as v from "valibot";
import { channels } from "../history/schema.ts";
import { type ChannelSettings, StoredSettings } from "../protocol/schemas.ts";

/** The channels' settings in D1. Every method may throw where D1 does not answer. */
export class SettingsStore {
  readonly #db: DrizzleD1Database;

  constructor(database: D1Database) {
    this.#db = drizzle(database);
  }

  /** The channel's settings, null where it has none. */
  async get(channel: string): Promise<ChannelSettings | null> {
    const row = await this.#db.select().from(channels).where(eq(channels.name, channel)).get();
    return row ? v.parse(StoredSettings, row.settings) : null;
  }

  async put(channel: string, settings: ChannelSettings): Promise<void> {
    await this.#db
      .insert(channels)
      .values({ name: channel, settings })
      .onConflictDoUpdate({ target: channels.name, set: { settings } });
  }

  async delete(channel: string): Promise<void> {
    await this.#db.delete(channels).where(eq(channels.name, channel));
  }
}
