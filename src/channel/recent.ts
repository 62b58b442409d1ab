/**
 * Something kept for each of many keys: of those that were used most recently. What is forgotten begins again, so a limit that
 * is kept here holds against up to `capacity` keys that take turns.
 */
export class Recent<T> {
  readonly #capacity: number;
  readonly #make: () => T;
  readonly #entries = new Map<string, T>();

  /** @param make Makes what is kept for a key that is new or forgotten. */
  constructor(capacity: number, make: () => T) {
    this.#capacity = capacity;
    this.#make = make;
  }

  /** Returns what is kept for a key. */
  get(key: string): T {
    const value = this.#entries.get(key) ?? this.#make();
    // A Map keeps the order of insertion: the first key is the one that was unused for longest.
    this.#entries.delete(key);
    this.#entries.set(key, value);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > this.#capacity && oldest !== undefined) this.#entries.delete(oldest);
    return value;
  }
}
