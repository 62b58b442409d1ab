import { expect, it } from "vitest";
import { SEEDS } from "../support/scale.ts";
import { failureOf } from "../support/simulation/simulate.ts";

/** After how many failures the test ends. */
const MAX_FAILURES = 3;

it("schedules of faults break no promise", { timeout: 36_000_000 }, async () => {
  const failures: string[] = [];
  for (let seed = SEEDS.first; seed <= SEEDS.last && failures.length < MAX_FAILURES; seed++) {
    const failure = await failureOf(seed);
    if (failure !== undefined) failures.push(failure);
  }
  expect(failures.join("\n\n")).toBe("");
});
