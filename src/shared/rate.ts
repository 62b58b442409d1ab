import type { Fault } from "../protocol/errors.ts";
import {
  FRAMES_AT_ONCE,
  FRAMES_PER_SECOND,
  MAX_BODY_BYTES,
  REFUSED_FRAMES_AT_ONCE,
  REFUSED_FRAMES_PER_SECOND,
} from "../protocol/limits.ts";

/** A token bucket: allows `perSecond` in the long run, and `atOnce` after a pause. */
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
   * Takes an amount if at least one is left. The amount may be more than what is left; the bucket then has to refill
   * from below zero.
   *
   * @param now In milliseconds since the epoch.
   * @param amount With 0, only checks whether something could be taken.
   * @returns 0 if the amount was taken, otherwise the seconds to wait.
   */
  take(now: number, amount = 1): number {
    const left = this.left(now);
    if (left < 1) return Math.ceil((1 - left) / this.#perSecond);
    this.#left -= amount;
    return 0;
  }

  /** Returns the amount that is left. It is negative after an amount was taken that was more than what was left. */
  left(now: number): number {
    const refill = (Math.max(0, now - this.#at) / 1000) * this.#perSecond;
    this.#left = Math.min(this.#atOnce, this.#left + refill);
    this.#at = now;
    return this.#left;
  }
}

/** After a refusal was sent, further refusals are not sent for this long. */
const SILENCE_MS = 1_000;

/**
 * The verdict on a frame: admitted, refused with an `error` frame (a fault), refused without one, or refused together
 * with its connection.
 */
export type FrameVerdict = "admitted" | Fault | "silent" | "flood";

/**
 * Limits the frames of one client (LIM6). Hibernation resets the limit, but only after a pause in which it would have
 * recovered anyway.
 */
export class FrameRate {
  readonly #frames = new Rate(FRAMES_PER_SECOND, FRAMES_AT_ONCE, Date.now());
  readonly #refusals = new Rate(REFUSED_FRAMES_PER_SECOND, REFUSED_FRAMES_AT_ONCE, Date.now());
  /** When a refusal was last sent, in milliseconds since the epoch. */
  #reportedAt = -Infinity;

  /**
   * Counts a text from the client, and returns the verdict on it. A long array counts as several frames, because parsing
   * it costs as much.
   *
   * @param length The length of an array in UTF-16 units, 0 for a single frame.
   */
  take(length = 0): FrameVerdict {
    const now = Date.now();
    const frames = 1 + Math.floor(length / MAX_BODY_BYTES);
    const retryAfter = this.#frames.take(now, frames);
    if (retryAfter === 0) return "admitted";
    if (this.#refusals.take(now, frames) > 0) return "flood";
    if (Math.abs(now - this.#reportedAt) < SILENCE_MS) return "silent";
    this.#reportedAt = now;
    return this.#refusal;
  }

  /**
   * Returns the refusals to send for a refused text: one for each frame that has an id, because its sender waits for the
   * answer. If none has one, at most one refusal per second.
   *
   * @param ids The ids of the refused frames.
   */
  refusals(verdict: Fault | "silent", ids: readonly string[]): { fault: Fault; id?: string }[] {
    const fault = verdict === "silent" ? this.#refusal : verdict;
    if (ids.length > 0) return ids.map((id) => ({ fault, id }));
    return verdict === "silent" ? [] : [{ fault }];
  }

  /** The refusal of a frame. */
  get #refusal(): Fault {
    const retryAfter = Math.max(1, this.#frames.take(Date.now(), 0));
    const detail = `A client may send ${FRAMES_PER_SECOND} frames per second, and this frame was refused. Send it again in ${retryAfter} s.`;
    return { code: "rate-limited", detail, limit: FRAMES_PER_SECOND, retryAfter };
  }
}
