import type { ParsedFrame } from "../protocol/client-frame.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { DatabaseStore } from "../settings/databases.ts";
import type { EffectiveSettings } from "../settings/channel-settings.ts";
import { Cache } from "../shared/cache.ts";
import { UNAVAILABLE } from "./settings.ts";

/** This isolate's copies of the numbers of auth databases, null if there is no database of the name. */
const numbers = new Cache<number | null>("database");

/**
 * The numbers of the auth databases that events over sockets name as their sender's. The number of the channel's own
 * auth database is known with the settings. Others are loaded before the frames that name them are handled.
 */
export class SenderDatabases {
  readonly #db: D1Database;
  readonly #effective: () => EffectiveSettings | null;
  /** The numbers for the frames that are being handled. */
  #loaded = new Map<string, number | null | undefined>();

  constructor(db: D1Database, effective: () => EffectiveSettings | null) {
    this.#db = db;
    this.#effective = effective;
  }

  /** Returns the databases that must be loaded before these frames can be handled. */
  missingFor(frames: readonly ParsedFrame[]): string[] {
    return frames.flatMap((frame) => {
      const sender = frame.ok && frame.value.action === "event" ? frame.value.options?.sender : undefined;
      return sender === undefined || this.#own(sender.database) !== undefined ? [] : sender.database;
    });
  }

  /** Loads the numbers of databases. Never throws. */
  async load(names: readonly string[]): Promise<void> {
    const found = [...new Set(names)].map(async (name) => [name, await this.#load(name)] as const);
    this.#loaded = new Map(await Promise.all(found));
  }

  /** Returns the number of a database. `load` must have been called for it, unless it is the channel's own. */
  numberOf(name: string): Result<number> {
    const number = this.#own(name) ?? this.#loaded.get(name);
    if (number === undefined) return UNAVAILABLE;
    if (number !== null) return { ok: true, value: number };
    const detail = `There is no auth database ${name}. Create it, or name another one.`;
    return refuse("invalid-field", detail, { field: "options.sender.database" });
  }

  #own(name: string): number | undefined {
    const effective = this.#effective();
    return effective?.settings.database === name ? effective.authDatabase?.dbo_id : undefined;
  }

  async #load(name: string): Promise<number | null | undefined> {
    const load = async () => (await new DatabaseStore(this.#db).get(name))?.dbo_id ?? null;
    return (await numbers.get(name, { load, lastKnown: async () => undefined }).catch(() => undefined))?.value;
  }
}
