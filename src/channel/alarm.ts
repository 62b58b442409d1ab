import { logFailure } from "../shared/logging.ts";

/** How late an alarm may be, in milliseconds, before it counts as lost and is set again. */
const LOST_AFTER_MS = 10_000;

/**
 * How far ahead an alarm is set at most, in milliseconds. The platform refuses times that are centuries away, and times
 * before 1970. An alarm that fires early is harmless: its handler finds nothing to do and sets the next one.
 */
const MAX_AHEAD_MS = 30 * 24 * 60 * 60 * 1_000;

/** The object's one alarm, shared by everything that must happen at some time. Setting it writes a row. */
export class Alarm {
  readonly #storage: DurableObjectStorage;
  /** When it will fire, in milliseconds since the epoch, as far as this object knows. */
  #at = Infinity;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** Loads what was set before this object was in memory. */
  async recall(): Promise<void> {
    this.#at = (await this.#storage.getAlarm()) ?? Infinity;
  }

  /**
   * Makes sure that the alarm fires no later than at this time. Does nothing when it is set already, unless it should have
   * fired long ago: then it was lost.
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

  /** Notes that it fired. */
  clear(): void {
    this.#at = Infinity;
  }
}
