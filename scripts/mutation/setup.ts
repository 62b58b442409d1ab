/** Runs before each test file of a mutation run: turns one mutant on or, with none on, notes which ones each test reaches. */
import { afterAll, afterEach, beforeEach, inject } from "vitest";

const active = inject("mutant");
/** What was reached while no test ran: while the modules were loaded, and between tests. */
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
