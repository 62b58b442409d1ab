import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type { AuthDatabase } from "../protocol/auth-database.ts";
import type { ChannelSettings } from "../protocol/channel-settings.ts";

/**
 * The archive: all messages of all channels. The primary key is the table itself (`WITHOUT ROWID`, which the migration
 * adds because drizzle-kit cannot express it), and there is no second index. So a message costs one row written.
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
    /** The auth database to whose users the message is restricted, null if every client may read it. */
    database: text(),
    /** JSON. */
    payload: text().notNull(),
    /** The application's name for its kind, null if the publisher gave none. */
    type: text(),
  },
  (table) => [primaryKey({ columns: [table.channel, table.seq] })],
);

/** The auth databases. */
export const databases = sqliteTable("databases", {
  name: text().primaryKey(),
  dbo_id: integer().notNull().unique(),
  config: text({ mode: "json" }).$type<AuthDatabase>().notNull(),
  /** The revoked tokens, by user (src/settings/revocations.ts). */
  revocations: text({ mode: "json" }).$type<Record<string, number>>().notNull().default({}),
});

/**
 * The keys with which each auth database verifies tokens: `secret:NAME`, `url:ADDRESS` or `key:PUBLIC PART`. D1's
 * triggers write this table (migrations/0001_database_keys.sql), so it always agrees with `databases`.
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

/** Settings, by the channel or pattern for which they are stored. */
export const channels = sqliteTable("channels", {
  name: text().primaryKey(),
  settings: text({ mode: "json" }).$type<ChannelSettings>().notNull(),
});
