import type { Env } from "../env.ts";
import { logFailure } from "../shared/logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { decideBySettings } from "../settings/known-settings.ts";
import type { User } from "./policy.ts";
import { verifyToken } from "./token.ts";

/**
 * The length of an API key. Shorter keys could be guessed. Longer candidates are refused without a comparison, because
 * every comparison takes the time of the longest key.
 */
const MIN_KEY_CHARACTERS = 16;
const MAX_KEY_CHARACTERS = 256;
const USABLE_KEY = new RegExp(`^[\\x21-\\x7e]{${MIN_KEY_CHARACTERS},${MAX_KEY_CHARACTERS}}$`);

/**
 * Returns whether a credential is one of the API keys. Compares it with every key in constant time, so that the time
 * reveals nothing about the keys. All are padded to one length, so their lengths stay secret, too. Credentials are
 * visible ASCII, so no credential equals another after padding.
 *
 * @param apiKeys The secret `API_KEYS`: comma-separated, so that a new key can be added before an old one is removed.
 */
export function isApiKey(candidate: string, apiKeys = ""): boolean {
  if (candidate.length > MAX_KEY_CHARACTERS) return false;
  const presented = padded(candidate);
  const matches = keysOf(apiKeys).map((key) => crypto.subtle.timingSafeEqual(presented, key));
  return matches.includes(true);
}

let known: { text: string; keys: Uint8Array[] } = { text: "", keys: [] };

/**
 * Returns the padded keys. They are computed once, because they hardly ever change; so an unusable key is also logged
 * once.
 */
function keysOf(text: string): Uint8Array[] {
  if (known.text === text) return known.keys;
  const keys = text.split(",").map((key) => key.trim());
  known = { text, keys: keys.filter(isUsable).map(padded) };
  return known.keys;
}

function isUsable(key: string, index: number): boolean {
  if (USABLE_KEY.test(key)) return true;
  if (key === "") return false;
  const reason = new Error(
    `an API key must have ${MIN_KEY_CHARACTERS} to ${MAX_KEY_CHARACTERS} visible ASCII characters`,
  );
  logFailure("API key ignored", reason, { position: index + 1 });
  return false;
}

function padded(text: string): Uint8Array {
  const bytes = new Uint8Array(MAX_KEY_CHARACTERS);
  encoder.encodeInto(text, bytes);
  return bytes;
}

const encoder = new TextEncoder();

/** The refusal of a token on a channel without an auth database. */
export const NO_AUTH_DATABASE = refuse(
  "unauthorized",
  "This channel has no auth database, so it accepts no tokens. Set database in the channel's settings, or send no token.",
);

/** Returns the user of a token, verified with the auth database of the channel. */
export async function userOf(token: string, channel: string, env: Env): Promise<Result<User>> {
  try {
    const user = await decideBySettings<User>(channel, env, (effective) => {
      const name = effective?.settings.database ?? null;
      if (name === null) return NO_AUTH_DATABASE;
      if (!effective?.authDatabase)
        return refuse(
          "unauthorized",
          "The channel's auth database does not exist any more. Set another database in the channel's settings.",
        );
      return verifyToken(token, name, effective.authDatabase, env);
    });
    if (user) return user;
    throw new Error("the channel's settings are not known");
  } catch (error) {
    logFailure("token not verifiable", error, { channel });
    return refuse("unavailable", "D1 does not answer, so the token cannot be verified. Try again in 1 s.", {
      retryAfter: 1,
    });
  }
}
