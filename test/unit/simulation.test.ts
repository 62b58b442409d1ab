import { expect, it } from "vitest";
import { SEEDS } from "../support/scale.ts";
import { failureOf } from "../support/simulation/simulate.ts";

/** After how many failures the test ends. */
const MAX_FAILURES = 3;

it("schedules of faults break no promise", { timeout: 36_000_000 }, async () => {
  const reports: string[] = [];
  let { first: seed } = SEEDS;
  for (let canGoOn = true; canGoOn && seed <= SEEDS.last; seed++) {
    const failure = await failureOf(seed);
    if (failure) reports.push(failure.report);
    canGoOn = !failure?.isFatal && reports.length < MAX_FAILURES;
  }
  if (reports.length > 0) expect.fail(textOf(reports, seed));
});

/** What scripts/simulate.ts reads: the reports, and from which seed on no schedule has run. */
function textOf(reports: readonly string[], next: number): string {
  const left = next <= SEEDS.last ? [`not run: SEED=${next}-${SEEDS.last}`] : [];
  return ["FAILED SCHEDULES", reports.join("\n---\n"), "END OF FAILED SCHEDULES", ...left].join("\n");
}
