import { type Fault } from "../protocol/errors.ts";
import { FRAMES_AT_ONCE, FRAMES_PER_SECOND } from "../protocol/limits.ts";

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
    const refill = (Math.max(0, now - this.#at) / 1000) * this.#perSecond;
    this.#left = Math.min(this.#atOnce, this.#left + refill);
    this.#at = now;
    if (this.#left < 1) return Math.ceil((1 - this.#left) / this.#perSecond);
    this.#left -= amount;
    return 0;
  }
}

/** The frames that one client may send (LIM6). */
export class FrameRate {
  readonly #rate = new Rate(FRAMES_PER_SECOND, FRAMES_AT_ONCE, Date.now());

  /** Takes a frame, or says why not. */
  take(): Fault | undefined {
    const retryAfter = this.#rate.take(Date.now());
    if (retryAfter === 0) return undefined;
    const detail = `At most ${FRAMES_PER_SECOND} frames a second are taken; this one was not.`;
    return { code: "rate-limited", detail, limit: FRAMES_PER_SECOND, retryAfter };
  }
}
