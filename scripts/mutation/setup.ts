/**
 * Runs before each test file of a mutation run. Runs each test as often as the plan says, each time with another mutant, or the
 * whole run with one. While the tests are profiled it turns none on, and records which mutants each test reaches.
 */
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  inject,
  type RunnerTestCase,
  type RunnerTestSuite,
  TestRunner,
  type VitestTestRunner,
  vi,
} from "vitest";
import { afterTicks } from "./patience.ts";
import type { Attempt, Progress } from "./runner.ts";
import { TIMED_OUT } from "./trials.ts";

/** How often a test runs while it is profiled: once with everything as new, and once more. */
const PROFILE_RUNS = 2;
/** How long a test may take while it is profiled, in milliseconds. */
const PROFILE_LIMIT_MS = 30_000;

const plan = inject("plan");
const progressUrl = inject("progressUrl");
/** Not the one that tests replace. */
const { fetch } = globalThis;
/** The mutants reached while modules were loaded, between tests, and when a test ran for the first time. */
const outside = new Set<number>();
/** The mutants that each test reached when it ran again, as it does for each mutant that is tried. */
const reached: Record<string, Set<number>> = { outside };
let current = outside;
let active: number | undefined = plan.mutant;
/** Whether the current attempt is left out. */
let isSkipped = false;

const mutation = globalThis as typeof globalThis & {
  isMutant: (id: number) => boolean;
  /** Computes the constants of the modules again. The modules add to it as they are loaded. */
  constants?: { mutants: number[]; compute: () => void }[];
  /** The mutants that a test has noticed in this run. */
  noticed?: Set<number>;
};
mutation.isMutant = (id) => {
  if (plan.isProfile) current.add(id);
  return id === active;
};
const constants = (mutation.constants ??= []);
const noticed = (mutation.noticed ??= new Set());

// oxlint-disable-next-line no-empty-pattern -- Vitest passes the suite second, and requires the first to be destructured.
beforeAll(({}, suite) => repeat(suite));

// Vitest's runner has no method of this name, and calls it instead of the test's function if there is one.
(TestRunner.prototype as VitestTestRunner).runTask = async (test) => {
  const run = TestRunner.getTestFn(test);
  const attempt = attemptOf(test);
  if (!isSkipped) await limited(run, attempt?.limitMs ?? PROFILE_LIMIT_MS);
};

beforeEach(async ({ task }) => {
  const attempt = attemptOf(task);
  for (const id of reached[task.id] ?? []) outside.add(id);
  current = reached[task.id] = new Set();
  isSkipped = typeof attempt?.mutant === "number" && noticed.has(attempt.mutant);
  if (!isSkipped) await report({ test: task.id, attempt: task.result?.repeatCount ?? 0 });
  if (isSkipped) ((task.meta as { skipped?: number[] }).skipped ??= []).push(task.result?.repeatCount ?? 0);
  else activate(plan.mutant ?? attempt?.mutant ?? undefined);
});

afterEach(({ task }) => {
  if (active !== undefined && task.result?.state === "fail") noticed.add(active);
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

/** Makes the tests of a suite run once for each attempt. */
function repeat(suite: Readonly<RunnerTestSuite>): void {
  for (const task of suite.tasks) {
    if (task.type === "suite") repeat(task);
    else task.repeats = (plan.attempts[task.id]?.length ?? PROFILE_RUNS) - 1;
  }
}

async function report(progress: Progress): Promise<void> {
  await (await fetch(progressUrl, { method: "POST", body: JSON.stringify(progress) })).text();
}

function attemptOf(test: RunnerTestCase): Attempt | undefined {
  return plan.attempts[test.id]?.[test.result?.repeatCount ?? 0];
}

function activate(id: number | undefined): void {
  if (id === active) return;
  const changed = new Set([id, active]);
  active = id;
  if (constants.some(({ mutants }) => mutants.some((mutant) => changed.has(mutant))))
    for (const { compute } of constants) compute();
}

/** Runs a test. Throws if it takes too long. */
async function limited(test: () => unknown, limitMs: number): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const cancel = afterTicks(limitMs, () => reject(new Error(TIMED_OUT)));
  try {
    await Promise.race([Promise.resolve().then(test), promise]);
  } finally {
    cancel();
  }
}
