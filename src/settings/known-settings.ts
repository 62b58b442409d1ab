import type { Env } from "../env.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import type { AuthDatabase } from "../protocol/auth-database.ts";
import { Cache } from "../shared/cache.ts";
import { DatabaseStore } from "./databases.ts";
import { candidatesFor, type EffectiveSettings, SettingsStore } from "./channel-settings.ts";

/**
 * A refusal is final if the settings are at most this old. So refused callers cause at most one D1 query per second and
 * name.
 */
const REFUSAL_MAX_AGE_MS = 1_000;

/** This isolate's copies of what D1 stores. */
const settings = new Cache<EffectiveSettings | null>("channel");
const databases = new Cache<AuthDatabase | null>("database");

/** The bindings that are needed to find settings. */
type Bindings = Pick<Env, "DB" | "CHANNELS">;

/**
 * Decides something by the settings that hold for a channel. If the settings may be outdated and the decision is a
 * refusal, decides again by fresh settings. While D1 does not answer, uses the channel object's last known settings.
 *
 * @param decide Called with the settings, null if none hold.
 * @returns The decision, undefined if the settings are not known anywhere and D1 does not answer.
 */
export async function decideBySettings<T>(
  channel: string,
  env: Bindings,
  decide: (effective: EffectiveSettings | null) => Result<T> | Promise<Result<T>>,
): Promise<Result<T> | undefined> {
  const source = {
    load: () => new SettingsStore(env.DB).resolve(channel),
    lastKnown: () => lastKnownTo(channel, env),
  };
  const known = await settings.get(channel, source);
  if (!known) return undefined;
  const result = await decide(known.value);
  if (result.ok) return result;
  const newer = await settings.get(channel, source, REFUSAL_MAX_AGE_MS);
  return newer && newer !== known ? decide(newer.value) : result;
}

/**
 * Returns the configuration of an auth database, null if there is none of this name. Returns `unavailable` if D1 does
 * not answer and the configuration is not known anywhere.
 *
 * @param channel The channel whose object is asked if D1 does not answer.
 */
export async function databaseOf(name: string, env: Bindings, channel?: string): Promise<Result<AuthDatabase | null>> {
  const source = {
    load: () => new DatabaseStore(env.DB).get(name),
    lastKnown: async () => {
      const known = channel === undefined ? undefined : await lastKnownTo(channel, env);
      return known?.value?.settings.database === name ? { value: known.value.authDatabase } : undefined;
    },
  };
  const known = await databases.get(name, source);
  const result = known?.value === null ? await databases.get(name, source, REFUSAL_MAX_AGE_MS) : known;
  if (result) return { ok: true, value: result.value };
  return refuse("unavailable", "D1 does not answer. Try again in 1 s.", { retryAfter: 1 });
}

/** Removes this isolate's copies of changed settings. Call it after each change. */
export function forgetSettings(name: string): void {
  settings.forget((channel) => candidatesFor(channel).includes(name));
}

/**
 * Removes this isolate's copies of a changed auth database. Call it after each change. All databases are affected,
 * because the change may concern others that have, or had, the same key.
 */
export function forgetDatabase(name: string): void {
  databases.forget((key) => key === name);
  settings.forget((_, effective) => effective !== undefined && effective?.settings.database !== null);
}

async function lastKnownTo(channel: string, env: Bindings): Promise<{ value: EffectiveSettings | null } | undefined> {
  return env.CHANNELS.getByName(channel).lastKnownSettings();
}
