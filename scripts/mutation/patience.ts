/** Timers that a busy or stopped machine does not end too early. */

const TICK_MS = 100;

/** The runtime's own timers. Tests replace the global ones. */
const { setTimeout, clearTimeout } = globalThis;

/**
 * Calls a function after a time that is counted in ticks. A machine that has no time for the work has no time for ticks either.
 * Returns a function that cancels the call.
 */
export function afterTicks(milliseconds: number, act: () => void): () => void {
  let ticks = Math.ceil(milliseconds / TICK_MS);
  let timer = setTimeout(tick, TICK_MS);
  function tick(): void {
    ticks -= 1;
    if (ticks > 0) timer = setTimeout(tick, TICK_MS);
    else act();
  }
  return () => clearTimeout(timer);
}
