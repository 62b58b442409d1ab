import type { Env } from "../env.ts";
import { logFailure } from "../logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { judgeBySettings } from "./known-settings.ts";
import type { User } from "./policy.ts";
import { verifyToken } from "./token.ts";

/** Characters of an API key. Shorter ones could be guessed. Longer ones are refused unread: so much is compared each time. */
const MIN_KEY_LENGTH = 16;
const MAX_KEY_LENGTH = 256;
const USABLE_KEY = new RegExp(`^[\\x21-\\x7e]{${MIN_KEY_LENGTH},${MAX_KEY_LENGTH}}$`);

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

/** The keys as bytes; prepared once, as they hardly ever change. So a key that is not usable is logged once. */
function keysOf(text: string): Uint8Array[] {
  if (known.text === text) return known.keys;
  const keys = text.split(",").map((key) => key.trim());
  known = { text, keys: keys.filter(isUsable).map(padded) };
  return known.keys;
}

function isUsable(key: string, index: number): boolean {
  if (USABLE_KEY.test(key)) return true;
  if (key === "") return false;
  const reason = new Error(`a key has ${MIN_KEY_LENGTH} to ${MAX_KEY_LENGTH} visible ASCII characters`);
  logFailure("API key ignored", reason, { position: index + 1 });
  return false;
}

function padded(text: string): Uint8Array {
  const bytes = new Uint8Array(MAX_KEY_LENGTH);
  encoder.encodeInto(text, bytes);
  return bytes;
}

const encoder = new TextEncoder();

/** The refusal of a token by a channel that has no auth database. */
export const NO_AUTH_DATABASE = refuse("unauthorized", "This channel has no auth database; it takes no tokens.");

/** Returns the user that a token is of, by the auth database of the channel that it is shown to. */
export async function userOf(token: string, channel: string, env: Env): Promise<Result<User>> {
  try {
    const user = await judgeBySettings<User>(channel, env, (holding) => {
      const name = holding?.settings.database ?? null;
      if (name === null) return NO_AUTH_DATABASE;
      if (!holding?.authDatabase) return refuse("unauthorized", "The channel's auth database is gone.");
      return verifyToken(token, name, holding.authDatabase, env);
    });
    if (user) return user;
    throw new Error("the channel's settings are not known");
  } catch (error) {
    logFailure("token not verifiable", error, { channel });
    return refuse("unavailable", "The token cannot be verified just now.", { retryAfter: 1 });
  }
}
