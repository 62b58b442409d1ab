import type { Fault } from "../protocol/errors.ts";
import {
  FRAMES_AT_ONCE,
  FRAMES_PER_SECOND,
  REFUSED_FRAMES_AT_ONCE,
  REFUSED_FRAMES_PER_SECOND,
} from "../protocol/limits.ts";

/** A token bucket: so much a second in the long run, and so much at once. */
export class Rate {
  readonly #perSecond: number;
  readonly #atOnce: number;
  #left: number;
  #at: number;

  /** @param now In milliseconds since the epoch. */
  constructor(perSecond: number, atOnce: number, now: number) {
    this.#perSecond = perSecond;
    this.#atOnce = atOnce;
    this.#left = atOnce;
    this.#at = now;
  }

  /**
   * Takes an amount while at least one is left; the last amount may be more than is left, and is made up for later. Returns 0,
   * or the seconds to wait when nothing was taken.
   *
   * @param amount With 0 it only says whether something could be taken.
   */
  take(now: number, amount = 1): number {
    const left = this.left(now);
    if (left < 1) return Math.ceil((1 - left) / this.#perSecond);
    this.#left -= amount;
    return 0;
  }

  /** Returns how much is left. Negative after an amount that was more than was left. */
  left(now: number): number {
    const refill = (Math.max(0, now - this.#at) / 1000) * this.#perSecond;
    this.#left = Math.min(this.#atOnce, this.#left + refill);
    this.#at = now;
    return this.#left;
  }
}

/** For how long after an answered refusal further refusals get no answer, in milliseconds. */
const SILENCE_MS = 1_000;

/**
 * What becomes of a frame: it is taken, refused with an answer (the fault), refused without one, or refused together with
 * its connection.
 */
export type FrameVerdict = "taken" | Fault | "silent" | "flood";

/** The frames that one client may send (LIM6). Hibernation forgets it, after more quiet than the rates take to recover. */
export class FrameRate {
  readonly #frames = new Rate(FRAMES_PER_SECOND, FRAMES_AT_ONCE, Date.now());
  readonly #refusals = new Rate(REFUSED_FRAMES_PER_SECOND, REFUSED_FRAMES_AT_ONCE, Date.now());
  /** When a refusal was last answered, in milliseconds since the epoch. */
  #answeredAt = -Infinity;

  /** Counts a frame, and decides about it. */
  take(): FrameVerdict {
    const now = Date.now();
    const retryAfter = this.#frames.take(now);
    if (retryAfter === 0) return "taken";
    if (this.#refusals.take(now) > 0) return "flood";
    if (Math.abs(now - this.#answeredAt) < SILENCE_MS) return "silent";
    this.#answeredAt = now;
    const detail = `At most ${FRAMES_PER_SECOND} frames per second are taken; this one was not. Send it again in ${retryAfter} s.`;
    return { code: "rate-limited", detail, limit: FRAMES_PER_SECOND, retryAfter };
  }
}
