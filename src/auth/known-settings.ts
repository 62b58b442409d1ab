import type { Env } from "../env.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import type { AuthDatabase } from "../protocol/schemas.ts";
import { Cache } from "./cache.ts";
import { DatabaseStore } from "./databases.ts";
import { candidatesFor, type EffectiveSettings, SettingsStore } from "./settings.ts";

/** A refusal is final if the settings are at most this old. So refused callers cost one D1 query per second and name. */
const REFUSAL_MAX_AGE_MS = 1_000;

/** What this isolate knows of D1. */
const settings = new Cache<EffectiveSettings | null>("channel");
const databases = new Cache<AuthDatabase | null>("database");

/** What a Worker needs to find settings. */
type Bindings = Pick<Env, "DB" | "CHANNELS">;

/**
 * Judges by the settings that hold for a channel, null if none hold. A refusal by a copy that may be outdated is judged
 * again by a new one. While D1 does not answer, the channel object's last known settings count.
 *
 * @returns The judgment, undefined if the settings are not known anywhere and D1 does not answer.
 */
export async function judgeBySettings<T>(
  channel: string,
  env: Bindings,
  judge: (holding: EffectiveSettings | null) => Result<T> | Promise<Result<T>>,
): Promise<Result<T> | undefined> {
  const source = {
    load: () => new SettingsStore(env.DB).resolve(channel),
    lastKnown: () => lastKnownTo(channel, env),
  };
  const known = await settings.get(channel, source);
  if (!known) return undefined;
  const result = await judge(known.value);
  if (result.ok) return result;
  const newer = await settings.get(channel, source, REFUSAL_MAX_AGE_MS);
  return newer && newer !== known ? judge(newer.value) : result;
}

/**
 * Looks up how an auth database verifies its users.
 *
 * @param channel The channel whose object is asked while D1 does not answer.
 * @returns The configuration, null if there is no such database.
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
  return refuse("unavailable", "D1 does not answer.", { retryAfter: 1 });
}

/** To be called after a change of settings, so that at least this isolate knows at once. */
export function forgetSettings(name: string): void {
  settings.forget((channel) => candidatesFor(channel).includes(name));
}

/** To be called after a change of an auth database. It also concerns databases that have, or had, the same key. */
export function forgetDatabase(name: string): void {
  databases.forget((key) => key === name);
  settings.forget((_, holding) => holding !== undefined && holding?.settings.database !== null);
}

async function lastKnownTo(channel: string, env: Bindings): Promise<{ value: EffectiveSettings | null } | undefined> {
  return env.CHANNELS.getByName(channel).lastKnownSettings();
}
