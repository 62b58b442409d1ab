import type { ChannelError } from "./errors.ts";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** The longest pause that the server can ask for: a timer that is set for longer goes off at once. */
const LONGEST_NAMED_PAUSE_MS = 24 * 60 * 60 * 1_000;

/** Spaces out the attempts at a request that failed and may succeed later. */
export class Backoff {
  /** How many attempts failed in a row. */
  #failures = 0;
  /** When the next attempt may be made, in milliseconds of `performance.now()`. */
  #notBefore = 0;
  /** Whether the server named that time. */
  #isNamed = false;
  readonly #pauses = new Set<() => void>();

  succeeded(): void {
    this.#failures = 0;
    this.#notBefore = 0;
  }

  /** The next attempt waits as long as the server asks for; otherwise longer each time, with jitter to spread clients out. */
  failed({ retryAfter }: ChannelError): void {
    this.#failures += 1;
    this.#isNamed = retryAfter !== undefined;
    const longest = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    const own = longest * (0.5 + Math.random() / 2);
    const pause = retryAfter === undefined ? own : Math.min(LONGEST_NAMED_PAUSE_MS, retryAfter * 1_000);
    this.#notBefore = performance.now() + pause;
  }

  /** Resolves when the next attempt may be made, or at `end()`. */
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

  /** The connection is back, so the next attempt need not wait, unless the server named a time. */
  wake(): void {
    if (this.#isNamed) return;
    this.#notBefore = 0;
    this.end();
  }

  /** Ends every pause: their callers have nothing to attempt any more. */
  end(): void {
    for (const end of this.#pauses) end();
  }
}
