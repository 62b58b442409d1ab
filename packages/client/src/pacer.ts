/** Below the server's limits of 100 frames at once and 50 per second (LIM6), which also count the join. */
const FRAMES_AT_ONCE = 80;
const FRAMES_PER_SECOND = 45;
/** The server counts a text of this many characters as one more frame. */
const CHARACTERS_PER_FRAME = 65_536;

/** Limits the frames of one connection, so that the server does not refuse one and accept a later one. */
export class Pacer {
  #frames = FRAMES_AT_ONCE;
  /** When `#frames` was last updated, in milliseconds of `performance.now()`. */
  #at = performance.now();

  /** Call this for each new connection. */
  reset(): void {
    this.#frames = FRAMES_AT_ONCE;
  }

  /** Returns 0 and counts the frame if it may be sent now. Otherwise returns the milliseconds to wait. */
  take(frame: string): number {
    const now = performance.now();
    this.#frames = Math.min(FRAMES_AT_ONCE, this.#frames + ((now - this.#at) / 1_000) * FRAMES_PER_SECOND);
    this.#at = now;
    if (this.#frames < 1) return Math.ceil(((1 - this.#frames) / FRAMES_PER_SECOND) * 1_000);
    this.#frames -= 1 + frame.length / CHARACTERS_PER_FRAME;
    return 0;
  }
}
