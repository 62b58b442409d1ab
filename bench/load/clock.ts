/** The load's clock, in microseconds. */
export const now = (): number => performance.now() * 1000;

/** The value below which the share lies, of numbers that are sorted here. */
export function percentile(values: number[], share: number): number {
  values.sort((a, b) => a - b);
  return values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN;
}
