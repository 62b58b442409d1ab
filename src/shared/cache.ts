import { waitUntil } from "cloudflare:workers";
import { logFailure } from "./logging.ts";
import { FreshCopy, SETTINGS_MAX_AGE_MS } from "./fresh-copy.ts";

/** Callers choose the keys, so the cache bounds both: its entries, and the characters of their values as JSON. */
const MAX_ENTRIES = 1_000;
const MAX_TEXT_CHARACTERS = 4 * 1024 * 1024;

/** Where a cache finds a value. */
export interface Source<T> {
  /** Reads it from D1. */
  load: () => Promise<T>;
  /** Returns it as last known somewhere else, undefined if it is not known there. Used if D1 does not answer. */
  lastKnown: () => Promise<{ value: T } | undefined>;
}

interface Entry<T> {
  copy: FreshCopy<T>;
  chars: number;
}

/**
 * What this isolate has read from D1, by key. Each entry is a `FreshCopy`: it obeys the same rules on age, on waiting, and on
 * a D1 that does not answer. However many requests ask for a key, one load is under way for it.
 */
export class Cache<T> {
  readonly #field: string;
  readonly #shares: boolean;
  /** The entry that was used last is the last one. */
  readonly #entries = new Map<string, Entry<T>>();
  #chars = 0;

  /**
   * @param field The name of the log field that holds the key of a failed load.
   * @param shares Whether requests may wait for each other's loads; by default, whether the runtime lets one request settle
   *   another's promise.
   */
  constructor(
    field: string,
    shares = Cloudflare.compatibilityFlags["handle_cross_request_promise_resolution"] === true,
  ) {
    this.#field = field;
    this.#shares = shares;
  }

  /** How many entries there are. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Returns the value of a key, undefined if it is not known and D1 does not answer. Waits for D1 at most one second, or
   * five seconds if nobody knows the value. The same object is returned until the value has been loaded again.
   */
  async get(key: string, source: Source<T>, maxAgeMs = SETTINGS_MAX_AGE_MS): Promise<{ value: T } | undefined> {
    const { copy } = this.#use(key);
    // The load serves other requests too, so it goes on if this one is canceled.
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

  /** Forgets the entries that a change concerns. */
  forget(isConcerned: (key: string, value: T | undefined) => boolean): void {
    for (const [key, { copy }] of this.#entries) if (isConcerned(key, copy.known?.value)) this.#delete(key);
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
      chars: 0,
      copy: new FreshCopy(this.#shares, {
        accepted: (value) => this.#measure(key, entry, value),
        failed: (error) => logFailure("D1 did not answer", error, { [this.#field]: key }),
      }),
    };
    return entry;
  }

  #measure(key: string, entry: Entry<T>, value: T): void {
    if (this.#entries.get(key) !== entry) return;
    this.#chars -= entry.chars;
    entry.chars = JSON.stringify(value).length;
    this.#chars += entry.chars;
    this.#evict();
  }

  #evict(): void {
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= MAX_ENTRIES && this.#chars <= MAX_TEXT_CHARACTERS) return;
      this.#delete(key);
    }
  }

  #delete(key: string): void {
    this.#chars -= this.#entries.get(key)?.chars ?? 0;
    this.#entries.delete(key);
  }
}
