/** The object's one alarm, shared by all that must happen at some time. Setting it costs a row written. */
export class Alarm {
  readonly #storage: DurableObjectStorage;
  /** When it will ring, in milliseconds since the epoch, as far as this object knows. */
  #at = Infinity;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** Finds out what was set before this object was in memory. */
  async recall(): Promise<void> {
    this.#at = (await this.#storage.getAlarm()) ?? Infinity;
  }

  /** Sees that it rings at this time at the latest. */
  by(time: number): void {
    if (this.#at <= time) return;
    this.#at = time;
    void this.#storage.setAlarm(time);
  }

  /** Notes that it rang. */
  rang(): void {
    this.#at = Infinity;
  }
}
