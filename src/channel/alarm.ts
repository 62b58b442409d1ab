import { logFailure } from "../shared/logging.ts";

/** An alarm that is later than this is lost, and is set again. */
const LOST_AFTER_MS = 10_000;

/**
 * The longest time ahead for which an alarm is set. The platform refuses times that are centuries away, and times
 * before 1970. An alarm that fires early is harmless: its handler finds nothing to do, and sets the next alarm.
 */
const MAX_AHEAD_MS = 30 * 24 * 60 * 60 * 1_000;

/** The object's only alarm, shared by everything that must happen at a certain time. Setting it writes a row. */
export class Alarm {
  readonly #storage: DurableObjectStorage;
  /**
   * When the alarm will fire, in milliseconds since the epoch, as far as this object knows. Infinity if it is not set.
   */
  #at = Infinity;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** Loads the time of an alarm that was set before this object was in memory. */
  async recall(): Promise<void> {
    this.#at = (await this.#storage.getAlarm()) ?? Infinity;
  }

  /**
   * Makes sure that the alarm fires no later than at this time. Does nothing if it does already, unless that alarm is
   * so late that it was lost.
   *
   * @param time In milliseconds since the epoch. Any number is safe.
   */
  scheduleNoLaterThan(time: number): void {
    const now = Date.now();
    const latest = now + MAX_AHEAD_MS;
    const at = Number.isNaN(time) ? latest : Math.min(Math.max(time, now), latest);
    const isLost = now - this.#at > LOST_AFTER_MS;
    if (this.#at <= at && !isLost) return;
    this.#at = at;
    this.#storage.setAlarm(at).catch((error: unknown) => {
      this.#at = Infinity;
      logFailure("alarm not set", error);
    });
  }

  /** Records that the alarm fired. */
  clear(): void {
    this.#at = Infinity;
  }
}
