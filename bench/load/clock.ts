/** Returns the load generator's time, in microseconds. */
export const now = (): number => performance.now() * 1000;

/** Returns the value below which a share of the values lies. Sorts the values in place. */
export function percentile(values: number[], share: number): number {
  values.sort((a, b) => a - b);
  return values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN;
}
