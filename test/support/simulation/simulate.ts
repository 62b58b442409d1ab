import { vi } from "vitest";
import { withinRealTime } from "./clock.ts";
import type { Violation } from "./oracle.ts";
import { Random } from "./random.ts";
import { type Schedule, scheduleOf, type Step, textOf } from "./schedule.ts";
import { World } from "./world.ts";

/** How long a schedule may take, in milliseconds of real time. It takes less than a second unless the simulation hangs. */
const MAX_REAL_MS = 120_000;
/** How many broken rules a report names. */
const MAX_LINES = 5;
/** How many shorter schedules are tried after a failure. */
const MAX_SHRINKS = 40;

/** Runs a schedule. Returns the rules that it broke. */
export async function simulate(schedule: Schedule): Promise<Violation[]> {
  const world = new World(schedule);
  const random = new Random(~schedule.seed);
  vi.spyOn(Math, "random").mockImplementation(() => random.next());
  vi.spyOn(console, "error").mockImplementation(() => {}); // The code under test logs each fault.
  const unhandled = ({ reason }: PromiseRejectionEvent) => world.rejected(reason);
  addEventListener("unhandledrejection", unhandled);
  try {
    await world.open();
    for (const step of schedule.steps) await world.perform(step);
    await world.finish();
  } finally {
    await world.close();
    removeEventListener("unhandledrejection", unhandled);
    vi.restoreAllMocks();
  }
  return world.violations;
}

/**
 * Runs the schedule of a seed. Returns a report if it broke a rule, with a short schedule that still does.
 *
 * @throws If the simulation itself fails, or does not end. Then no other schedule can run.
 */
export async function failureOf(seed: number): Promise<string | undefined> {
  const schedule = scheduleOf(seed);
  const replay = `replay: SEED=${seed} npx vitest run --project unit simulation`;
  const report = (...lines: string[]) => [...lines.slice(0, MAX_LINES), replay].join("\n");
  const violations = await withinRealTime(MAX_REAL_MS, simulate(schedule)).catch((error: unknown) => {
    throw new Error(`${report(String(error))}\n${textOf(schedule)}`, { cause: error });
  });
  const [first] = violations;
  if (!first) return undefined;
  const broken = report(...violations.map(({ rule, what }) => `broken: ${rule}: ${what}`));
  const shortest = await shrink(schedule, first.rule);
  return `${broken}\na short schedule that breaks "${first.rule}":\n${textOf(shortest)}`;
}

/** Removes steps, first many at once and then single ones, while the schedule still breaks the rule. */
async function shrink(schedule: Schedule, rule: string): Promise<Schedule> {
  let { steps } = schedule;
  let tries = 0;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < steps.length && tries < MAX_SHRINKS;) {
      tries += 1;
      const fewer: Step[] = steps.toSpliced(from, size);
      const violations = await simulate({ ...schedule, steps: fewer });
      if (violations.some((violation) => violation.rule === rule)) steps = fewer;
      else from += size;
    }
  }
  return { ...schedule, steps };
}
