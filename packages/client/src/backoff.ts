import type { ChannelError } from "./errors.ts";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** The longest pause that the server can ask for. A timer has a maximum too: with a longer delay it fires at once. */
const LONGEST_REQUESTED_PAUSE_MS = 24 * 60 * 60 * 1_000;

/** Spaces out the attempts at a request that failed but may succeed later. */
export class Backoff {
  /** How many attempts in a row have failed. */
  #failures = 0;
  /** When the next attempt may be made, in milliseconds of `performance.now()`. */
  #notBefore = 0;
  /** Whether the server requested that time with `Retry-After`. */
  #isRequested = false;
  readonly #pauses = new Set<() => void>();

  succeeded(): void {
    this.#failures = 0;
    this.#notBefore = 0;
  }

  /**
   * Delays the next attempt by `retryAfter` if the server sent it. Otherwise each failure doubles the pause, up to 30
   * seconds, with jitter so that clients don't all retry at the same moment.
   */
  failed({ retryAfter }: ChannelError): void {
    this.#failures += 1;
    this.#isRequested = retryAfter !== undefined;
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    const own = longest * (0.5 + Math.random() / 2);
    const pause = retryAfter === undefined ? own : Math.min(LONGEST_REQUESTED_PAUSE_MS, retryAfter * 1_000);
    this.#notBefore = performance.now() + pause;
  }

  /** Resolves when the next attempt may be made, or when `end()` is called. */
  async pause(): Promise<void> {
    const milliseconds = this.#notBefore - performance.now();
    if (milliseconds <= 0) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#pauses.delete(end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      this.#pauses.add(end);
    });
  }

  /** Allows the next attempt at once, because the connection is back. A pause that the server requested continues. */
  wake(): void {
    if (this.#isRequested) return;
    this.#notBefore = 0;
    this.end();
  }

  /** Ends every pause. The callers then find that they have nothing left to attempt. */
  end(): void {
    for (const end of this.#pauses) end();
  }
}
