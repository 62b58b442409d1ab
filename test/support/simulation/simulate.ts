import { vi } from "vitest";
import { HangingError, unlessHanging } from "./clock.ts";
import type { Rule, Violation } from "./oracle.ts";
import { Random } from "./random.ts";
import { type Schedule, scheduleOf, type Step, textOf } from "./schedule.ts";
import { World } from "./world.ts";

/** How many broken rules a report names. */
const MAX_LINES = 5;
/** How many shorter schedules are tried after a failure. */
const MAX_SHRINKS = 40;

export interface Failure {
  report: string;
  /** Whether a schedule hangs, or the simulation itself failed. Then no other schedule can run in this process. */
  isFatal: boolean;
}

/**
 * Runs a schedule. Returns the rules that it broke.
 *
 * @throws HangingError If it hangs.
 */
export async function simulate(schedule: Schedule): Promise<Violation[]> {
  const world = new World(schedule);
  return unlessHanging(run(world, schedule), () => world.progress);
}

async function run(world: World, { seed, steps }: Schedule): Promise<Violation[]> {
  const random = new Random(~seed);
  vi.spyOn(Math, "random").mockImplementation(() => random.next());
  vi.spyOn(console, "error").mockImplementation(() => {}); // The code under test logs each fault.
  const unhandled = ({ reason }: PromiseRejectionEvent) => world.rejected(reason);
  addEventListener("unhandledrejection", unhandled);
  try {
    await world.open();
    for (const step of steps) await world.perform(step);
    await world.finish();
  } finally {
    await world.close();
    removeEventListener("unhandledrejection", unhandled);
    vi.restoreAllMocks();
  }
  return world.violations;
}

/** Runs the schedule of a seed. Returns a report if it failed, with a short schedule that still breaks the same rule. */
export async function failureOf(seed: number): Promise<Failure | undefined> {
  const schedule = scheduleOf(seed);
  const replay = `replay: SEED=${seed} npx vitest run --project unit simulation`;
  const report = (...lines: string[]) => [...lines.slice(0, MAX_LINES), replay].join("\n");
  try {
    const violations = await simulate(schedule);
    const [first] = violations;
    if (!first) return undefined;
    const broken = report(...violations.map(({ rule, what }) => `broken: ${rule}: ${what}`));
    const { shortest, isFatal } = await shrink(schedule, first.rule);
    return { report: `${broken}\na short schedule that breaks "${first.rule}":\n${textOf(shortest)}`, isFatal };
  } catch (error) {
    return { report: `${report(String(error))}\n${textOf(schedule)}`, isFatal: true };
  }
}

/** Removes steps, first many at once and then single ones, while the schedule still breaks the rule. Ends if one hangs. */
async function shrink(schedule: Schedule, rule: Rule): Promise<{ shortest: Schedule; isFatal: boolean }> {
  let { steps } = schedule;
  let tries = 0;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < steps.length && tries < MAX_SHRINKS;) {
      tries += 1;
      const fewer: Step[] = steps.toSpliced(from, size);
      const violations = await simulate({ ...schedule, steps: fewer }).catch(hangingIn);
      if (!violations) return { shortest: { ...schedule, steps }, isFatal: true };
      if (violations.some((violation) => violation.rule === rule)) steps = fewer;
      else from += size;
    }
  }
  return { shortest: { ...schedule, steps }, isFatal: false };
}

/** Returns undefined for the error of a schedule that hangs. Throws any other error. */
function hangingIn(error: unknown): undefined {
  if (!(error instanceof HangingError)) throw error;
}
