import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type { AuthDatabase, ChannelSettings } from "../protocol/schemas.ts";

/**
 * The archive: every message of every channel. The primary key is the table itself (`WITHOUT ROWID`, which the
 * migration adds, as drizzle-kit cannot say it) and there is no second index, so a message costs one row written.
 */
export const messages = sqliteTable(
  "messages",
  {
    channel: text().notNull(),
    seq: integer().notNull(),
    /** Milliseconds since the epoch. */
    time: integer().notNull(),
    action: text({ enum: ["event", "message"] }).notNull(),
    /** JSON; null if an API-key client published the message and named no sender. */
    client: text(),
    /** Null where everybody may see the message; else only clients that this auth database authenticated. */
    database: text(),
    /** JSON. */
    payload: text().notNull(),
  },
  (table) => [primaryKey({ columns: [table.channel, table.seq] })],
);

/** The auth databases. */
export const databases = sqliteTable("databases", {
  name: text().primaryKey(),
  dbo_id: integer().notNull().unique(),
  config: text({ mode: "json" }).$type<AuthDatabase>().notNull(),
  /** Until when the tokens of which users are revoked (src/auth/revocations.ts). */
  revocations: text({ mode: "json" }).$type<Record<string, number>>().notNull().default({}),
});

/**
 * The keys that each auth database verifies tokens with: `secret:NAME`, `url:ADDRESS` or `key:PUBLIC PART`. D1's triggers
 * write it (migrations/0001_database_keys.sql), so that it agrees with `databases` whoever writes there.
 */
export const databaseKeys = sqliteTable(
  "database_keys",
  {
    name: text().notNull(),
    key: text().notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.name, table.key] }),
    index("database_keys_by_key").on(table.key, table.name),
  ],
);

/** Settings, by the channel or pattern that they are for. */
export const channels = sqliteTable("channels", {
  name: text().primaryKey(),
  settings: text({ mode: "json" }).$type<ChannelSettings>().notNull(),
});
