/** How long an answer counts as fresh, in milliseconds. */
const FRESH_FOR = 5_000;
const MAX_ENTRIES = 1_000;

/** Keeps what was looked up for a few seconds; where a look-up fails, what was last known goes on being given. */
export class Cache<T> {
  readonly #entries = new Map<string, { value: T; at: number }>();

  async get(key: string, load: () => Promise<T>): Promise<T> {
    const known = this.#entries.get(key);
    if (known && Math.abs(Date.now() - known.at) < FRESH_FOR) return known.value;
    try {
      const value = await load();
      if (this.#entries.size >= MAX_ENTRIES) this.#entries.clear();
      this.#entries.set(key, { value, at: Date.now() });
      return value;
    } catch (error) {
      if (known) return known.value;
      throw error;
    }
  }

  /** Forgets what was known, after a change made here. */
  forget(key: string): void {
    this.#entries.delete(key);
  }
}
