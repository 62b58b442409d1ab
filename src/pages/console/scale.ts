/** A value at a moment. */
export interface Point {
  /** Milliseconds since the epoch. */
  at: number;
  /** Null if the value is unknown. */
  value: number | null;
}

/** Returns the end of the scale: a round number that no point exceeds. */
export function ceilingOf(points: readonly Point[]): number {
  const largest = Math.max(1, ...points.map(({ value }) => value ?? 0));
  const power = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= largest) ?? largest;
}
