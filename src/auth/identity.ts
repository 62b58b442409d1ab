import type { Env } from "../env.ts";
import { causeOf, refuse, type Result } from "../protocol/errors.ts";
import type { AuthDatabase } from "../protocol/schemas.ts";
import { Cache } from "./cache.ts";
import { DatabaseStore } from "./databases.ts";
import type { User } from "./policy.ts";
import { SettingsStore } from "./settings.ts";
import { verifyToken } from "./token.ts";

/** Which auth database a channel has, and how databases verify: looked up for each token, so kept for a few seconds. */
const databaseNames = new Cache<string | null>();
const databases = new Cache<AuthDatabase | null>();

/** Characters of an API key. Longer ones are refused unread: so much is compared each time. */
const MAX_KEY_LENGTH = 256;

/**
 * Compares in constant time and with every key, so that time tells nothing about any of them: neither what it is nor, as
 * all are padded to one length, how long. Credentials are visible ASCII, so a padded one equals no other.
 *
 * @param apiKeys The secret `API_KEYS`: comma-separated, so that a new key can be added before the old one goes.
 */
export function isApiKey(candidate: string, apiKeys = ""): boolean {
  if (candidate.length > MAX_KEY_LENGTH) return false;
  const shown = padded(candidate);
  const matches = keysOf(apiKeys).map((key) => crypto.subtle.timingSafeEqual(shown, key));
  return matches.includes(true);
}

let known: { text: string; keys: Uint8Array[] } = { text: "", keys: [] };

/** The keys as bytes; prepared once, as they hardly ever change. */
function keysOf(text: string): Uint8Array[] {
  if (known.text === text) return known.keys;
  const keys = text.split(",").map((key) => key.trim());
  known = { text, keys: keys.filter((key) => key !== "" && key.length <= MAX_KEY_LENGTH).map(padded) };
  return known.keys;
}

function padded(text: string): Uint8Array {
  const bytes = new Uint8Array(MAX_KEY_LENGTH);
  encoder.encodeInto(text, bytes);
  return bytes;
}

const encoder = new TextEncoder();

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
    console.error({ message: "a token could not be verified", error: causeOf(error) });
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
