/**
 * Keeps a value for each key, up to `capacity` keys: the most recently used ones. A key that was evicted starts with a
 * new value. So a limit that is kept here holds only while at most `capacity` keys take turns.
 */
export class Recent<T> {
  readonly #capacity: number;
  readonly #make: () => T;
  readonly #entries = new Map<string, T>();

  /** @param make Returns the value for a key that is new or was evicted. */
  constructor(capacity: number, make: () => T) {
    this.#capacity = capacity;
    this.#make = make;
  }

  /** Returns the value of a key, and marks the key as used. */
  get(key: string): T {
    const value = this.#entries.get(key) ?? this.#make();
    // A Map keeps the order of insertion, so the first key is the least recently used one.
    this.#entries.delete(key);
    this.#entries.set(key, value);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > this.#capacity && oldest !== undefined) this.#entries.delete(oldest);
    return value;
  }
}
