/**
 * Runs before each test file of a mutation run. Turns mutants on, as the plan says: one for the whole run, or one for each
 * test. While the tests are profiled it turns none on, and records which mutants each test reaches.
 */
import { afterAll, afterEach, beforeEach, inject, vi } from "vitest";

const plan = inject("plan");
/** The mutants reached while no test ran: while the modules were loaded, and between tests. */
const outside = new Set<number>();
const reached: Record<string, Set<number>> = { outside };
let current = outside;
let active: number | undefined = plan.mutant;

const mutation = globalThis as typeof globalThis & {
  isMutant: (id: number) => boolean;
  /** Computes the constants of the modules again. The modules add to it as they are loaded. */
  constants?: (() => void)[];
};
mutation.isMutant = (id) => {
  if (plan.isProfile) current.add(id);
  return id === active;
};
mutation.constants ??= [];

function activate(id: number | undefined): void {
  if (id === active) return;
  active = id;
  for (const compute of mutation.constants ?? []) compute();
}

beforeEach(({ task }) => {
  activate(plan.mutant ?? plan.mutants?.[task.id]);
  current = reached[task.id] ??= new Set();
});
afterEach(() => {
  current = outside;
  activate(plan.mutant);
  // A test that failed may have left these, and the next one has another mutant.
  vi.useRealTimers();
  vi.restoreAllMocks();
});

// oxlint-disable-next-line no-empty-pattern -- Vitest passes the suite second, and requires the first to be destructured.
afterAll(({}, suite) => {
  if (!plan.isProfile) return;
  const lists = Object.entries(reached).map(([test, ids]) => [test, [...ids]]);
  Object.assign(suite.meta, { reached: Object.fromEntries(lists) });
});
