import type { Env } from "../env.ts";
import { logFailure } from "../logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import type { AuthDatabase } from "../protocol/schemas.ts";
import { Cache } from "./cache.ts";
import { DatabaseStore } from "./databases.ts";
import { sha256 } from "./digest.ts";
import type { User } from "./policy.ts";
import { SettingsStore } from "./settings.ts";
import { verifyToken } from "./token.ts";

/** Which auth database a channel has, and how databases verify: looked up for each token, so kept for a few seconds. */
const databaseNames = new Cache<string | null>();
const databases = new Cache<AuthDatabase | null>();

/**
 * Compares digests, in constant time and with every key, so that time tells nothing about any of them.
 *
 * @param apiKeys The secret `API_KEYS`: comma-separated, so that a new key can be added before the old one goes.
 */
export async function isApiKey(candidate: string, apiKeys = ""): Promise<boolean> {
  const keys = apiKeys
    .split(",")
    .map((key) => key.trim())
    .filter((key) => key !== "");
  const digest = await sha256(candidate);
  const matches = await Promise.all(keys.map(async (key) => crypto.subtle.timingSafeEqual(digest, await sha256(key))));
  return matches.includes(true);
}

/** The user that a token is of, by the auth database of the channel that it is shown to; null where that has none. */
export async function userOf(token: string, channel: string, env: Env): Promise<Result<User | null>> {
  try {
    const name = await databaseNames.get(channel, async () => {
      const holding = await new SettingsStore(env.DB).resolve(channel);
      return holding?.settings.database ?? null;
    });
    if (name === null) return { ok: true, value: null };
    const database = await databaseOf(name, env);
    if (database === null) return refuse("unauthorized", "The channel's auth database is gone.");
    return await verifyToken(token, name, database, env);
  } catch (error) {
    logFailure("token not verifiable", error, { channel });
    return refuse("unavailable", "The token cannot be verified just now.", { retryAfter: 1 });
  }
}

/** How a database verifies, null where there is none of that name. */
export function databaseOf(name: string, env: Env): Promise<AuthDatabase | null> {
  return databases.get(name, () => new DatabaseStore(env.DB).get(name));
}

/** To be called after a change, so that at least this isolate knows at once. */
export function forgetChannel(channel: string): void {
  databaseNames.forget(channel);
}

export function forgetDatabase(name: string): void {
  databases.forget(name);
}
