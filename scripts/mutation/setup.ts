/**
 * Runs before each test file of a mutation run. Runs each test with one mutant after the other, as the plan says. In a profile no
 * mutant is on, and it records which mutants each test reaches.
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
import { TestTrials } from "./attempts.ts";
import { afterTicks } from "./patience.ts";
import type { Event } from "./runner.ts";

/** How often a test runs in a profile: once with empty caches, and once as it runs with each mutant. */
const PROFILE_RUNS = 2;
const PROFILE_LIMIT_MS = 60_000;
/** A test with trials runs at most so many times per trial: with the mutant, without it, and with it again. */
const RUNS_PER_TRIAL = 3;
/** What a test fails with if it takes too long. */
const TIMED_OUT = "took longer than its limit";

const plan = inject("plan");
const eventsUrl = inject("eventsUrl");
/** The runtime's own. Tests replace the global one. */
const { fetch } = globalThis;

/** The mutants that were reached while modules were loaded, between tests, and by the first run of a test. */
const outside = new Set<number>();
/** The mutants that each test reached when it ran last. */
const reached: Record<string, Set<number>> = { outside };
let current = outside;
let active: number | null = plan.kind === "from start" ? plan.mutant : null;
const trials = new Map<string, TestTrials>();
/** The mutants that a test of this file has detected. */
const detected = new Set<number>();
/** Whether nothing is left to try in the current run of a test. */
let isDone = false;

const mutation = globalThis as typeof globalThis & {
  isMutant: (id: number) => boolean;
  /** Computes the constants of the modules again. Each module adds its own when it is loaded. */
  constants?: (() => void)[];
};
mutation.isMutant = (id) => {
  if (plan.kind === "profile") current.add(id);
  return id === active;
};
const constants = (mutation.constants ??= []);

// oxlint-disable-next-line no-empty-pattern -- Vitest passes the suite second, and wants the first to be destructured.
beforeAll(({}, suite) => setRepeats(suite));

// Vitest's runner has no method of this name, and calls it instead of the test's function if there is one.
(TestRunner.prototype as VitestTestRunner).runTask = async (test) => {
  if (!isDone) await limited(TestRunner.getTestFn(test), limitOf(test.id));
};

beforeEach(async ({ task }) => {
  // A test that failed may have left these.
  vi.useRealTimers();
  vi.restoreAllMocks();
  isDone = false;
  if (plan.kind === "trials") return beginTrial(task);
  if (plan.kind === "profile") beginProfiledRun(task);
  await report([{ event: "begins", test: task.id, mutant: active, limitMs: limitOf(task.id) }]);
});

afterEach(() => {
  current = outside;
  if (plan.kind === "trials") activate(null);
});

// oxlint-disable-next-line no-empty-pattern -- Vitest passes the suite second, and wants the first to be destructured.
afterAll(({}, suite) => {
  if (plan.kind !== "profile") return;
  const lists = Object.entries(reached).map(([test, ids]) => [test, [...ids]]);
  Object.assign(suite.meta, { reached: Object.fromEntries(lists) });
});

function setRepeats(suite: Readonly<RunnerTestSuite>): void {
  for (const task of suite.tasks) {
    if (task.type === "suite") setRepeats(task);
    else if (plan.kind === "profile") task.repeats = PROFILE_RUNS - 1;
    // One run more, which reports how the last one ended.
    else if (plan.kind === "trials") task.repeats = (plan.trials[task.id]?.length ?? 0) * RUNS_PER_TRIAL;
  }
}

function beginProfiledRun({ id }: RunnerTestCase): void {
  for (const mutant of reached[id] ?? []) outside.add(mutant);
  current = reached[id] = new Set();
}

/** Reports how the last run of a test ended, and turns the mutant of the next run on. */
async function beginTrial(test: RunnerTestCase): Promise<void> {
  activate(null);
  const queue = trials.get(test.id) ?? new TestTrials(trialsOf(test.id), detected);
  trials.set(test.id, queue);
  const events: Event[] = [];
  const last = takeLastRun(test);
  if (last !== undefined) events.push(...queue.note(last).map((event) => Object.assign(event, { test: test.id })));
  const next = queue.next();
  isDone = next === undefined;
  if (next !== undefined)
    events.push({ event: "begins", test: test.id, mutant: next.mutant, limitMs: limitOf(test.id) });
  if (events.length > 0) await report(events);
  if (next !== undefined) activate(next.mutant);
}

function trialsOf(test: string) {
  return plan.kind === "trials" ? (plan.trials[test] ?? []) : [];
}

/** Returns the error of the test's last run, or null if that passed. Forgets the run, because Vitest sends all of them again and again. */
function takeLastRun({ result }: RunnerTestCase): string | null | undefined {
  const last = result?.attempts?.splice(0).at(-1);
  if (!result || !last) return undefined;
  const failure = last.state === "fail" ? (last.errors?.[0]?.message ?? "failed").split("\n", 1).join("") : null;
  // Vitest finds the errors of a run by their number.
  if (result.errors) result.errors = result.errors.map(() => ({ message: "" }));
  return failure;
}

function limitOf(test: string): number {
  return plan.kind === "profile" ? PROFILE_LIMIT_MS : (plan.limitsMs[test] ?? PROFILE_LIMIT_MS);
}

function activate(id: number | null): void {
  if (id === active) return;
  active = id;
  for (const compute of constants) compute();
}

async function report(events: Event[]): Promise<void> {
  await (await fetch(eventsUrl, { method: "POST", body: JSON.stringify(events) })).text();
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
