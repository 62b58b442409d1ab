import { waitUntil } from "cloudflare:workers";
import { createLocalJWKSet, errors } from "jose";
import { logFailure } from "../logging.ts";
import { MAX_KEY_SET_BYTES, MAX_KEYS_PER_SET } from "../protocol/limits.ts";

/** How long a fetch may take, to the last byte. */
const FETCH_TIMEOUT_MS = 3_000;
/** How long a key set is used without being fetched again. */
const FRESH_MS = 10 * 60 * 1_000;
/** How long the last key set that was fetched is used while fetching fails. */
const STALE_MS = 24 * 60 * 60 * 1_000;
/** The pause between two fetches because of tokens whose key is not in the set. */
const UNKNOWN_KEY_PAUSE_MS = 30_000;
/** Pauses after failed fetches: the first one, doubled after each failure up to the last one. */
const FIRST_RETRY_MS = 5_000;
const LAST_RETRY_MS = 30_000;
/** Key sets kept in memory. The one that was used longest ago goes first. */
const MAX_KEY_SETS = 100;

/** Finds the key of a token. Throws a `KeySetError` if no key set can be had, and jose's errors if it lacks the key. */
export type KeySet = (...token: Parameters<LocalKeySet>) => ReturnType<LocalKeySet>;

type LocalKeySet = ReturnType<typeof createLocalJWKSet>;

/** Thrown if a key set cannot be had, or not while it matters. */
export class KeySetError extends Error {
  override name = "KeySetError";
}

const fetched = new Map<string, FetchedKeySet>();

/** Returns the key set at an address. It is fetched rarely, however many tokens arrive and whatever they say. */
export function keySetAt(address: string): KeySet {
  const known = fetched.get(address) ?? new FetchedKeySet(address);
  fetched.delete(address);
  fetched.set(address, known);
  for (const oldest of fetched.keys()) if (fetched.size > MAX_KEY_SETS) fetched.delete(oldest);
  return (...token) => known.keyOf(...token);
}

class FetchedKeySet {
  readonly #address: string;
  #keys: KeySet | undefined;
  #fetchedAt = -Infinity;
  #triedAt = -Infinity;
  #failures = 0;
  #fetching: Promise<void> | undefined;

  constructor(address: string) {
    this.#address = address;
  }

  async keyOf(...token: Parameters<LocalKeySet>): ReturnType<LocalKeySet> {
    const keys = await this.#current();
    try {
      return await keys(...token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      if (isOlder(this.#triedAt, UNKNOWN_KEY_PAUSE_MS)) await this.#fetch();
      // The key may be a new one, of which the set that is known does not tell.
      if (this.#failures > 0 || !this.#keys) throw new KeySetError("the key set cannot be fetched");
      return this.#keys(...token);
    }
  }

  /** Returns the key set, fetched before if that is due. */
  async #current(): Promise<KeySet> {
    if (this.#keys && !isOlder(this.#fetchedAt, FRESH_MS)) return this.#keys;
    const hasStale = this.#keys !== undefined && !isOlder(this.#fetchedAt, STALE_MS);
    if (this.#fetching || isOlder(this.#triedAt, this.#pauseMs)) {
      const fetching = this.#fetch();
      // While fetching fails nobody waits for it who can do without.
      if (!hasStale || this.#failures === 0) await fetching;
    }
    if (this.#keys && !isOlder(this.#fetchedAt, STALE_MS)) return this.#keys;
    throw new KeySetError("the key set cannot be fetched");
  }

  get #pauseMs(): number {
    return this.#failures === 0 ? 0 : Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
  }

  /** Waits for a fetch: the one that is under way, or a new one. Never rejects. */
  async #fetch(): Promise<void> {
    // A fetch that has not ended by now was lost, together with the request that began it.
    if (isOlder(this.#triedAt, 2 * FETCH_TIMEOUT_MS)) this.#fetching = undefined;
    if (!this.#fetching) {
      this.#fetching = this.#load().finally(() => (this.#fetching = undefined));
      // The fetch serves other requests too, so it goes on if this one is canceled.
      waitUntil(this.#fetching);
    }
    await within(2 * FETCH_TIMEOUT_MS, this.#fetching).catch(() => {});
  }

  async #load(): Promise<void> {
    this.#triedAt = Date.now();
    try {
      this.#keys = await download(this.#address);
      this.#fetchedAt = this.#triedAt;
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      logFailure("token not verifiable", error, { host: new URL(this.#address).host });
    }
  }
}

/** Fetches a key set. Throws if it is not there, not a key set, too large or too slow. */
async function download(address: string): Promise<KeySet> {
  const controller = new AbortController();
  const request = { redirect: "manual" as const, signal: controller.signal, headers: { Accept: "application/json" } };
  try {
    return await within(FETCH_TIMEOUT_MS, read(fetch(address, request)));
  } finally {
    // Ends a body that is too long, or still arriving.
    controller.abort();
  }
}

async function read(answering: Promise<Response>): Promise<KeySet> {
  const answer = await answering;
  if (answer.status !== 200) throw new KeySetError(`status ${answer.status} instead of 200`);
  const set: unknown = JSON.parse(await textOf(answer));
  const count = (set as { keys?: unknown[] } | null)?.keys?.length ?? 0;
  if (count > MAX_KEYS_PER_SET) throw new KeySetError(`more than ${MAX_KEYS_PER_SET} keys`);
  return createLocalJWKSet(set as Parameters<typeof createLocalJWKSet>[0]);
}

async function textOf({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_KEY_SET_BYTES) throw new KeySetError(`more than ${MAX_KEY_SET_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Rejects if a promise is not settled after so many milliseconds. */
async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new KeySetError(`no answer within ${milliseconds} ms`)), milliseconds);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a time is at least so many milliseconds away. Clocks may step back. */
function isOlder(time: number, milliseconds: number): boolean {
  return Math.abs(Date.now() - time) >= milliseconds;
}
