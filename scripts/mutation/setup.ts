/** Runs before each test file of a mutation run. Turns one mutant on, or records which mutants each test reaches if none is on. */
import { afterAll, afterEach, beforeEach, inject } from "vitest";

const active = inject("mutant");
/** The mutants that were reached outside of tests: while modules were loaded, and between tests. */
const outside = new Set<number>();
const reached: Record<string, Set<number>> = { outside };
let current = outside;

Object.assign(globalThis, {
  isMutant(id: number): boolean {
    if (active === null) current.add(id);
    return id === active;
  },
});

beforeEach(({ task }) => void (current = reached[task.id] ??= new Set()));
afterEach(() => void (current = outside));

// oxlint-disable-next-line no-empty-pattern -- Vitest passes the suite second, and wants the first to be destructured.
afterAll(({}, suite) => {
  if (active !== null) return;
  const lists = Object.entries(reached).map(([test, ids]) => [test, [...ids]]);
  Object.assign(suite.meta, { reached: Object.fromEntries(lists) });
});
