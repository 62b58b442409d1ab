import { waitUntil } from "cloudflare:workers";
import { logFailure } from "./logging.ts";
import { FreshCopy, SETTINGS_MAX_AGE_MS } from "./fresh-copy.ts";

/** Clients choose the keys, so the cache limits the number of entries, and the characters of their values as JSON. */
const MAX_ENTRIES = 1_000;
const MAX_TEXT_CHARACTERS = 4 * 1024 * 1024;

/** The sources of a value. */
export interface Source<T> {
  /** Reads it from D1. */
  load: () => Promise<T>;
  /** Returns the last known value from elsewhere, undefined if it is not known there. Used if D1 does not answer. */
  lastKnown: () => Promise<{ value: T } | undefined>;
}

interface Entry<T> {
  copy: FreshCopy<T>;
  characters: number;
}

/**
 * Caches values from D1 in this isolate, by key. Each entry is a `FreshCopy`, with its rules on age, on waiting, and on
 * a D1 that does not answer. At most one load per key is in progress.
 */
export class Cache<T> {
  readonly #field: string;
  readonly #shares: boolean;
  /** The most recently used entry is the last one. */
  readonly #entries = new Map<string, Entry<T>>();
  #characters = 0;

  /**
   * @param field The name of the log field that holds the key of a failed load.
   * @param shares Whether requests may wait for each other's loads; by default, whether the runtime lets one request
   *   settle another's promise.
   */
  constructor(
    field: string,
    shares = Cloudflare.compatibilityFlags["handle_cross_request_promise_resolution"] === true,
  ) {
    this.#field = field;
    this.#shares = shares;
  }

  /** The number of entries. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Returns the value of a key, undefined if it is not known and D1 does not answer. Waits for D1 at most one second,
   * or five seconds if no source knows the value. Returns the same object until the value is loaded again.
   */
  async get(key: string, source: Source<T>, maxAgeMs = SETTINGS_MAX_AGE_MS): Promise<{ value: T } | undefined> {
    const { copy } = this.#use(key);
    // The load also serves other requests, so it must continue if this request is canceled.
    const load = () => {
      const loading = source.load();
      waitUntil(loading.catch(() => {}));
      return loading;
    };
    if (!copy.isUsable(load, maxAgeMs)) await copy.refreshed(load);
    if (copy.known) return copy.known;
    const known = await source.lastKnown();
    if (known) copy.seed(known);
    else await copy.loaded(load);
    return copy.known;
  }

  /** Removes the entries that a change affects. */
  forget(isAffected: (key: string, value: T | undefined) => boolean): void {
    for (const [key, { copy }] of this.#entries) if (isAffected(key, copy.known?.value)) this.#delete(key);
  }

  #use(key: string): Entry<T> {
    const entry = this.#entries.get(key) ?? this.#newEntry(key);
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    this.#evict();
    return entry;
  }

  #newEntry(key: string): Entry<T> {
    const entry: Entry<T> = {
      characters: 0,
      copy: new FreshCopy(this.#shares, {
        accepted: (value) => this.#measure(key, entry, value),
        failed: (error) => logFailure("D1 did not answer", error, { [this.#field]: key }),
      }),
    };
    return entry;
  }

  #measure(key: string, entry: Entry<T>, value: T): void {
    if (this.#entries.get(key) !== entry) return;
    this.#characters -= entry.characters;
    entry.characters = JSON.stringify(value).length;
    this.#characters += entry.characters;
    this.#evict();
  }

  #evict(): void {
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES && this.#characters <= MAX_TEXT_CHARACTERS) return;
      this.#delete(key);
    }
  }

  #delete(key: string): void {
    this.#characters -= this.#entries.get(key)?.characters ?? 0;
    this.#entries.delete(key);
  }
}
