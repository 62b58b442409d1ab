/** How old a copy may be when an action is judged by it, and how long an action waits for a fresh one. */
export const SETTINGS_MAX_AGE_MS = 5_000;
export const SETTINGS_TIMEOUT_MS = 1_000;

/** When a load that has not returned counts as failed. */
const LOAD_TIMEOUT_MS = 5_000;
/** Pauses between failed loads: the first one, doubled after each failure up to the last one. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 4_000;
/**
 * How long nobody waits after a failed load. It is longer than the last pause and a load together, so under steady
 * traffic one failure excuses all waiting until a load succeeds.
 */
const OUTAGE_MS = 10_000;

export interface CopyEvents<T> {
  /** Called with each value that becomes the copy, after it has. */
  accepted?: (value: T) => void;
  /** Called with the error of each failed load. */
  failed: (error: unknown) => void;
}

/** One load from D1. Of two loads, the one with the higher turn began later. */
interface Load {
  turn: number;
  beganAt: number;
}

/**
 * A copy of something that D1 holds, reloaded when it is used. No timer runs while nobody uses it.
 *
 * `isUsable` decides whether the copy may be used at once. If not, `refreshed` waits for a load, at most one second. While
 * D1 fails or hangs, the last known value serves: after one failed load nobody waits again until a load has succeeded.
 *
 * Callers of different requests may use one copy: each waits for a promise and a timer of its own, because the runtime ties
 * both to the request that created them.
 */
export class FreshCopy<T> {
  readonly #shares: boolean;
  readonly #events: CopyEvents<T>;
  #known: { value: T } | undefined;
  /** When the load of the known value began. The age of the copy counts from here. */
  #loadedAt = -Infinity;
  /** The turn of the known value; loads that began earlier may not replace it. */
  #turn = 0;
  #lastTurn = 0;
  #load: Load | undefined;
  readonly #waiters = new Set<() => void>();
  #failures = 0;
  #failedAt = -Infinity;
  /** When a load last failed, or was last found to take longer than anybody waits. */
  #outageAt = -Infinity;

  /**
   * @param shares Whether callers may wait for each other's loads.
   * @param known The last known value, of any age.
   */
  constructor(shares: boolean, events: CopyEvents<T>, known?: { value: T }) {
    this.#shares = shares;
    this.#events = events;
    this.#known = known;
  }

  /** The last known value, undefined if there is none. */
  get known(): { value: T } | undefined {
    return this.#known;
  }

  /**
   * Whether the copy may be used without waiting: it is fresh, or D1 is known to be away. Begins a load in the background
   * when the copy has reached half of the allowed age, so that steady traffic never waits.
   */
  isUsable(load: () => Promise<T>, maxAgeMs = SETTINGS_MAX_AGE_MS): boolean {
    const now = Date.now();
    this.#giveUp(now);
    if (this.#known && distance(now, this.#loadedAt) < maxAgeMs) {
      if (distance(now, this.#loadedAt) >= SETTINGS_MAX_AGE_MS / 2) this.#loadIfDue(load, now);
      return true;
    }
    if (!this.#isAway(now)) return false;
    this.#loadIfDue(load, now);
    if (this.#load) this.#outageAt = now;
    return true;
  }

  /**
   * Waits for a load, at most one second from its beginning. Afterwards the last known value is the one to use.
   *
   * @param shares Whether the load may be one that another caller began.
   */
  async refreshed(load: () => Promise<T>, shares = this.#shares): Promise<void> {
    if (await this.#ended(load, SETTINGS_TIMEOUT_MS, shares)) return;
    this.#outageAt = Date.now();
  }

  /** Waits until a load has ended, at most five seconds; for callers that cannot go on without a value. */
  async loaded(load: () => Promise<T>): Promise<void> {
    await this.#ended(load, LOAD_TIMEOUT_MS, this.#shares);
  }

  /**
   * Replaces the value. Loads that are under way began earlier and are discarded.
   *
   * @param ageMs How long ago the value was read from D1.
   */
  set(value: T, ageMs: number): void {
    this.#accept(value, { turn: ++this.#lastTurn, beganAt: Date.now() - ageMs });
  }

  /** Takes a value of unknown age as the last known one, unless one is known. */
  seed(known: { value: T }): void {
    if (this.#known) return;
    this.#known = known;
    this.#events.accepted?.(known.value);
  }

  /** Whether D1 failed lately, or takes longer for the load under way than anybody waits. */
  #isAway(now: number): boolean {
    if (distance(now, this.#outageAt) < OUTAGE_MS) return true;
    return this.#load !== undefined && distance(now, this.#load.beganAt) >= SETTINGS_TIMEOUT_MS;
  }

  /** Counts a load as failed that has not returned in time. It failed when its time was over, however long ago that is. */
  #giveUp(now: number): void {
    if (!this.#load || distance(now, this.#load.beganAt) < LOAD_TIMEOUT_MS) return;
    this.#fail(new Error(`D1 did not answer within ${LOAD_TIMEOUT_MS} ms`), this.#load.beganAt + LOAD_TIMEOUT_MS);
  }

  /** Begins a load unless one is under way or the last failure was too recent. */
  #loadIfDue(load: () => Promise<T>, now: number): void {
    this.#giveUp(now);
    if (!this.#load && !this.#isPausing(now)) void this.#begin(load, now);
  }

  /** Whether the last load failed too recently for another one. */
  #isPausing(now: number): boolean {
    if (this.#failures === 0) return false;
    return distance(now, this.#failedAt) < Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
  }

  /** Begins a load; the returned promise resolves when it has ended, also if it has failed. */
  #begin(load: () => Promise<T>, now: number): Promise<void> {
    const begun = { turn: ++this.#lastTurn, beganAt: now };
    this.#load = begun;
    return load().then(
      (value) => {
        if (begun.turn > this.#turn) this.#accept(value, begun);
      },
      (error: unknown) => {
        if (this.#load === begun) this.#fail(error, Date.now());
      },
    );
  }

  #accept(value: T, { turn, beganAt }: Load): void {
    this.#known = { value };
    this.#turn = turn;
    this.#loadedAt = beganAt;
    if (this.#load && this.#load.turn <= turn) this.#load = undefined;
    // A result that took too long does not prove that the next one will be in time.
    if (distance(Date.now(), beganAt) < LOAD_TIMEOUT_MS) {
      this.#failures = 0;
      this.#failedAt = this.#outageAt = -Infinity;
    }
    this.#events.accepted?.(value);
    this.#release();
  }

  #fail(error: unknown, at: number): void {
    this.#load = undefined;
    this.#failures += 1;
    this.#failedAt = this.#outageAt = at;
    this.#events.failed(error);
    this.#release();
  }

  /** Returns whether a load ended within so many milliseconds from its beginning, or none is due. */
  async #ended(load: () => Promise<T>, timeoutMs: number, shares: boolean): Promise<boolean> {
    const now = Date.now();
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const release = () => resolve(true);
    if (shares) {
      this.#loadIfDue(load, now);
      this.#waiters.add(release);
    } else if (!this.#isPausing(now)) {
      void this.#begin(load, now).then(release);
    }
    if (!this.#load) release();
    const beganAt = this.#load?.beganAt ?? now;
    const timer = setTimeout(() => resolve(false), timeoutMs - distance(now, beganAt));
    const ended = await promise;
    clearTimeout(timer);
    this.#waiters.delete(release);
    return ended;
  }

  #release(): void {
    for (const release of this.#waiters) release();
  }
}

/** Clocks may step back: then a copy from the future is as old as it is ahead. */
function distance(one: number, other: number): number {
  return Math.abs(one - other);
}
