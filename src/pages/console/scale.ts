/** A value at a moment, in milliseconds since the epoch; null where it is not known. */
export interface Point {
  at: number;
  value: number | null;
}

/** The scale's end: a round number that no point passes. */
export function ceilingOf(points: readonly Point[]): number {
  const largest = Math.max(1, ...points.map(({ value }) => value ?? 0));
  const power = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= largest) ?? largest;
}
