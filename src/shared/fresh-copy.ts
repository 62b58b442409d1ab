/** The maximum age of a copy when it decides about an action, and how long an action waits for a fresh copy. */
export const SETTINGS_MAX_AGE_MS = 5_000;
export const SETTINGS_TIMEOUT_MS = 1_000;

/** A load counts as failed after this time. */
const LOAD_TIMEOUT_MS = 5_000;
/** The pause after a failed load: the first pause, doubled after each failure, up to the last pause. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 4_000;
/**
 * The time after a failed load in which no caller waits. It is longer than the longest pause and a load together. So
 * under steady traffic, no caller waits from the first failure until a load succeeds.
 */
const OUTAGE_MS = 10_000;

export interface CopyEvents<T> {
  /** Called with each new value, after it has become the copy. */
  accepted?: (value: T) => void;
  /** Called with the error of each failed load. */
  failed: (error: unknown) => void;
}

/** A load from D1. A higher turn began later. */
interface Load {
  turn: number;
  beganAt: number;
}

/**
 * A copy of a value in D1, reloaded when it is used. No timer runs while it is not used.
 *
 * `isUsable` decides whether the copy may be used at once. If not, `refreshed` waits for a load, at most one second.
 * While D1 fails or hangs, the last known value is used: after one failed load no caller waits again until a load has
 * succeeded.
 *
 * Callers of different requests may use one copy. Each waits for a promise and a timer of its own, because the runtime
 * ties both to the request that created them.
 */
export class FreshCopy<T> {
  readonly #shares: boolean;
  readonly #events: CopyEvents<T>;
  #known: { value: T } | undefined;
  /** When the load of the known value began, in milliseconds since the epoch. The age of the copy counts from here. */
  #loadedAt = -Infinity;
  /** The turn of the known value. Results of earlier loads are discarded. */
  #turn = 0;
  #lastTurn = 0;
  #load: Load | undefined;
  readonly #waiters = new Set<() => void>();
  #failures = 0;
  #failedAt = -Infinity;
  /** When a load last failed, or was last found to take longer than callers wait, in milliseconds since the epoch. */
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
   * Returns whether the copy may be used without waiting: it is fresh, or D1 does not answer. Starts a load in the
   * background if the copy has reached half of the maximum age, so that callers never wait under steady traffic.
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
   * Waits for a load, until one second after its beginning. Then use the last known value.
   *
   * @param shares Whether to wait for a load that another caller began.
   */
  async refreshed(load: () => Promise<T>, shares = this.#shares): Promise<void> {
    if (await this.#ended(load, SETTINGS_TIMEOUT_MS, shares)) return;
    this.#outageAt = Date.now();
  }

  /** Waits until a load has ended, at most five seconds. For callers that need a value. */
  async loaded(load: () => Promise<T>): Promise<void> {
    await this.#ended(load, LOAD_TIMEOUT_MS, this.#shares);
  }

  /**
   * Replaces the value. Results of loads in progress are discarded, because they began earlier.
   *
   * @param ageMs The time since the value was read from D1, in milliseconds.
   */
  set(value: T, ageMs: number): void {
    this.#accept(value, { turn: ++this.#lastTurn, beganAt: Date.now() - ageMs });
  }

  /** Sets a last known value of unknown age, unless one is known. */
  seed(known: { value: T }): void {
    if (this.#known) return;
    this.#known = known;
    this.#events.accepted?.(known.value);
  }

  /** Whether D1 failed recently, or the load in progress takes longer than callers wait. */
  #isAway(now: number): boolean {
    if (distance(now, this.#outageAt) < OUTAGE_MS) return true;
    return this.#load !== undefined && distance(now, this.#load.beganAt) >= SETTINGS_TIMEOUT_MS;
  }

  /** Counts a late load as failed. It failed at the end of its time limit, however long ago that is. */
  #giveUp(now: number): void {
    if (!this.#load || distance(now, this.#load.beganAt) < LOAD_TIMEOUT_MS) return;
    this.#fail(new Error(`D1 did not answer within ${LOAD_TIMEOUT_MS} ms`), this.#load.beganAt + LOAD_TIMEOUT_MS);
  }

  /** Starts a load, unless one is in progress or the pause after a failure is not over. */
  #loadIfDue(load: () => Promise<T>, now: number): void {
    this.#giveUp(now);
    if (!this.#load && !this.#isPausing(now)) void this.#begin(load, now);
  }

  /** Whether the pause after a failed load is not over. */
  #isPausing(now: number): boolean {
    if (this.#failures === 0) return false;
    return distance(now, this.#failedAt) < Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
  }

  /** Starts a load. The returned promise resolves when the load has ended, even if it failed. */
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
    // A late result does not prove that the next load will be in time.
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

  /** Returns whether a load ended within this time of its beginning, or no load is due. */
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

/** The clock may step back. A copy from the future then counts as old, by as much as it is ahead. */
function distance(one: number, other: number): number {
  return Math.abs(one - other);
}
