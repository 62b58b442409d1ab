import { vi } from "vitest";

/** Far in the future, so that the runtime never runs an alarm by its own clock. */
const START = Date.UTC(2040, 0, 1);

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  now: Date.now,
};

/** How often a waiting context compares its timer with the simulated time, in milliseconds of real time. */
const LOOK_EVERY_MS = 1;

/** How long a schedule may make no progress, and how long it may take, in seconds of real time. It takes less than one. */
const MAX_IDLE_SECONDS = 60;
const MAX_SECONDS = 900;

/** Ends one turn of the runtime's event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => real.setTimeout(resolve, 0));
}

/**
 * Waits until a condition holds. It polls with a real timer, because the runtime does not let one Durable Object resolve
 * a promise of another.
 */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => real.setTimeout(resolve, LOOK_EVERY_MS));
}

/**
 * Returns the outcome of some work. A timer of this process counts the seconds. A busy machine delays the timer as much as the
 * work, so a second then lasts longer.
 *
 * @param progress Returns a number that changes while the work makes progress.
 * @throws HangingError If the work makes no progress for some time, or does not end.
 */
export async function unlessHanging<T>(work: Promise<T>, progress: () => number): Promise<T> {
  let timer: number | null = null;
  let [seconds, idleSeconds, seen] = [0, 0, progress()];
  const end = new Promise<never>((_, reject) => {
    timer = real.setInterval(() => {
      seconds += 1;
      idleSeconds = progress() === seen ? idleSeconds + 1 : 0;
      seen = progress();
      if (idleSeconds >= MAX_IDLE_SECONDS) reject(new HangingError(`Nothing has happened for ${idleSeconds} seconds.`));
      else if (seconds >= MAX_SECONDS) reject(new HangingError(`The schedule has not ended after ${seconds} seconds.`));
    }, 1_000);
  });
  try {
    return await Promise.race([work, end]);
  } finally {
    real.clearInterval(timer);
  }
}

/** Thrown if a schedule hangs. It cannot be ended from outside, so no other schedule can run in this process. */
export class HangingError extends Error {
  override name = "HangingError";
}

/** A span of time with one skew: the clock shows the start of the schedule plus `elapsed + skew`. */
interface Segment {
  /** Simulated milliseconds since the start of the schedule. */
  elapsed: number;
  skew: number;
  /** When the segment began, by the runtime's own clock. */
  realAt: number;
}

/** An instant of a schedule. */
export interface Moment {
  /** Grows with each moment that is noted. */
  index: number;
  /** Milliseconds that passed since the start. Never falls. */
  elapsed: number;
  /** What `Date.now()` said. Falls when the schedule steps the clock back. */
  wall: number;
}

/**
 * The simulated time, which only the schedule moves. It replaces `Date` and all timers.
 *
 * Timers count time that passes. `Date` shows that time plus a skew, which the schedule changes to step the clock.
 */
export class Clock {
  readonly #timers = new Map<number, { due: number }>();
  readonly #segments: Segment[] = [];
  #elapsed = 0;
  #skew = 0;
  #timerIds = 0;
  #moments = 0;
  /** Grows whenever a timer is set or fires. */
  activity = 0;

  /** Takes the place of the global clock and timers. */
  install(): void {
    vi.useFakeTimers({ toFake: ["Date"], now: START });
    this.#noteSegment();
    const start =
      (repeat: boolean) =>
      (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
        this.#start(() => callback(...args), ms ?? 0, repeat);
    const stop = (id?: number | null) => void this.#timers.delete(id ?? 0);
    Object.assign(globalThis, {
      setTimeout: start(false),
      setInterval: start(true),
      clearTimeout: stop,
      clearInterval: stop,
    });
  }

  /** Gives the global clock and timers back. Timers that have not fired never will. */
  uninstall(): void {
    this.#timers.clear();
    const { setTimeout, clearTimeout, setInterval, clearInterval } = real;
    Object.assign(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval });
    vi.useRealTimers();
  }

  get elapsed(): number {
    return this.#elapsed;
  }

  get wall(): number {
    return START + this.#elapsed + this.#skew;
  }

  /** Notes the present moment. */
  moment(): Moment {
    this.#moments += 1;
    return { index: this.#moments, elapsed: this.#elapsed, wall: this.wall };
  }

  /** Moves the time forward to an instant, without waiting for the timers that are due then. */
  advanceTo(elapsed: number): void {
    this.#elapsed = Math.max(this.#elapsed, elapsed);
    this.#changed();
  }

  /** Steps what `Date` shows, forward or back. */
  step(ms: number): void {
    this.#skew += ms;
    this.#changed();
  }

  /** When the next timer is due, by `elapsed`; Infinity if none is set. */
  get nextTimer(): number {
    return Math.min(Infinity, ...this.#timers.values().map(({ due }) => due));
  }

  /** When the next timer is due that is not due already; Infinity if none is set. */
  get laterTimer(): number {
    const due = this.#timers.values().map((timer) => timer.due);
    return Math.min(Infinity, ...due.filter((time) => time > this.#elapsed));
  }

  /** Whether a timer is due and has not fired yet. */
  get isFiring(): boolean {
    return this.nextTimer <= this.#elapsed;
  }

  /** Drops the timers that are due. Used when their contexts have ended, so that nothing can fire them. */
  dropDue(): void {
    for (const [id, { due }] of this.#timers) if (due <= this.#elapsed) this.#timers.delete(id);
  }

  /** Whether the clock showed a time within `ms` of some reading, at any instant between two. All by `elapsed`. */
  showedNear(wall: number, ms: number, from: number, to: number): boolean {
    return this.#segments.some(({ elapsed, skew }, index) => {
      const end = this.#segments[index + 1]?.elapsed ?? this.#elapsed;
      const [least, most] = [Math.max(from, elapsed), Math.min(to, end)];
      return least <= most && START + least + skew - ms <= wall && wall <= START + most + skew + ms;
    });
  }

  /** What the simulated clock showed at an instant of the runtime's own clock. */
  simulated(realTime: number): number {
    const segment = this.#segments.findLast(({ realAt }) => realAt <= realTime) ?? this.#segments[0];
    if (!segment) return realTime;
    // Two instants of one segment stay different, so that two heartbeats do not look like one.
    return START + segment.elapsed + segment.skew + Math.max(0, realTime - segment.realAt);
  }

  #start(callback: () => void, ms: number, repeat: boolean): number {
    this.#timerIds += 1;
    const id = this.#timerIds;
    const timer = { due: this.#elapsed + ms };
    this.#timers.set(id, timer);
    this.activity += 1;
    // The runtime runs this in the context that set the timer. Only there may the callback use its sockets and storage.
    const look = () => {
      if (this.#timers.get(id) !== timer) return;
      if (this.#elapsed >= timer.due) {
        this.activity += 1;
        if (repeat) timer.due = this.#elapsed + ms;
        else this.#timers.delete(id);
        callback();
      }
      if (this.#timers.get(id) === timer) real.setTimeout(look, LOOK_EVERY_MS);
    };
    real.setTimeout(look, 0);
    return id;
  }

  #changed(): void {
    vi.setSystemTime(this.wall);
    this.#noteSegment();
  }

  #noteSegment(): void {
    this.#segments.push({ elapsed: this.#elapsed, skew: this.#skew, realAt: real.now() });
  }
}
