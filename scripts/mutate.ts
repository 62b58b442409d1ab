/**
 * `npm run mutate`: measures how many faults the unit tests detect. Makes one small change to the sources at a time, and runs the
 * test files that reach it until one of them fails.
 *
 *   --sample N   run only N mutants, chosen by the seed (default: all)
 *   --seed S     which ones are chosen, and their order (default: 1)
 *   --only PATH  only in files below this path; may be given several times
 *   --tests NAME only test files whose path contains this; may be given several times. Quick while you write tests
 *   --jobs N     how many test files run at the same time (default: 2)
 *   --out FILE   where the report goes, as JSON (default: mutation.json)
 *   --resume     continue the existing report: its mutants are not run again
 *
 * The order is random, so that a run that is stopped early has tried a random sample, too. The report is written as it grows.
 */
import { type ChildProcess, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { type Mutant, mutantsIn } from "./mutation/mutants.ts";
import type { FirstIds, Outcome, Task } from "./mutation/runner.ts";

/** The sources that are mutated. */
const SOURCES = ["adapters", "archive", "auth", "channel", "http", "protocol", "settings", "shared"].map(
  (name) => `src/${name}/**/*.ts`,
);
/** Test files with random input. They run only for mutants that no other file reaches. */
const LAST_RESORT = /\/(?:corpora|simulation)\.test\.ts$/;
/** A file fails if it takes longer than its usual time multiplied by the factor, plus the grace time. */
const TIMEOUT_FACTOR = 3;
const TIMEOUT_GRACE_MS = 10_000;
const START_TIMEOUT_MS = 120_000;
const USUAL_TIMEOUT_MS = 300_000;
const USUAL_ATTEMPTS = 3;
const STATUSES = ["killed", "timeout", "survived", "not covered"] as const;

type Status = (typeof STATUSES)[number];

interface Result extends Mutant {
  status: Status;
  /** The test file that failed, and its first failed test. */
  by?: string;
  failure?: string;
}

const { values: options } = parseArgs({
  options: {
    sample: { type: "string" },
    seed: { type: "string", default: "1" },
    only: { type: "string", multiple: true, default: [] },
    tests: { type: "string", multiple: true, default: [""] },
    jobs: { type: "string", default: "2" },
    out: { type: "string", default: "mutation.json" },
    resume: { type: "boolean", default: false },
  },
});

/** A process that runs test files (mutation/runner.ts). It is started again if a test hangs. */
class Runner {
  readonly #firstIds: FirstIds;
  #child: ChildProcess | undefined;

  constructor(firstIds: FirstIds) {
    this.#firstIds = firstIds;
  }

  /** Runs a test file. Returns undefined if it takes too long. Throws if the process ends by itself twice, or does not start. */
  async run(task: Task, timeoutMs: number): Promise<Outcome | undefined> {
    for (let attempt = 1; attempt <= 2; attempt++) {
      const child = (this.#child ??= await this.#start());
      child.send(task);
      const message = await messageOf(child, timeoutMs);
      if (message !== "exit" && message !== "timeout") return message as Outcome;
      this.stop();
      if (message === "timeout") return undefined;
    }
    throw new Error(`Vitest ended while it ran ${task.file} with mutant ${task.mutant}.`);
  }

  stop(): void {
    const pid = this.#child?.pid;
    this.#child = undefined;
    try {
      if (pid !== undefined) process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }

  async #start(): Promise<ChildProcess> {
    // In a process group of its own, so that the Workers runtime ends with it.
    const group = { detached: true, silent: true };
    const child = fork("scripts/mutation/runner.ts", [JSON.stringify(this.#firstIds)], group);
    if ((await messageOf(child, START_TIMEOUT_MS)) !== "ready") throw new Error("Vitest does not start.");
    return child;
  }
}

/** Returns the next message of a process, `exit` if the process ends, or `timeout` if no message arrives in time. */
function messageOf(child: ChildProcess, timeoutMs: number): Promise<unknown> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => end("timeout"), timeoutMs);
    const onExit = () => end("exit");
    function end(message: unknown): void {
      clearTimeout(timer);
      child.off("message", end).off("exit", onExit);
      resolve(message);
    }
    child.once("message", end).once("exit", onExit);
  });
}

const { mutants, firstIds } = findMutants();
const chosen = choose(mutants);
const runners = Array.from({ length: Number(options.jobs) }, () => new Runner(firstIds));
const results = options.resume ? earlierResults() : [];

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => finish());
console.log(`${mutants.length} mutants, ${chosen.length} of them chosen. Running the tests without any …`);
const files = await usualRuns();
const known = new Set(results.map(({ hash }) => hash));
const left = chosen.filter(({ hash }) => !known.has(hash));
await inParallel(left, async (mutant, runner) => note({ ...mutant, ...(await tryOut(mutant, runner)) }));
finish();

function findMutants(): { mutants: Mutant[]; firstIds: FirstIds } {
  const found: Mutant[] = [];
  const first: FirstIds = {};
  for (const file of globSync(SOURCES).toSorted()) {
    first[file] = found.length;
    found.push(...mutantsIn(file, readFileSync(file, "utf8"), found.length).mutants);
  }
  return { mutants: found, firstIds: first };
}

/** Returns the chosen mutants' results that are already in the report. */
function earlierResults(): Result[] {
  const earlier = JSON.parse(readFileSync(options.out, "utf8")) as { results: Result[] };
  const byHash = new Map(earlier.results.map((result) => [result.hash, result]));
  return chosen.flatMap((mutant) => {
    const result = byHash.get(mutant.hash);
    return result ? { ...result, ...mutant } : [];
  });
}

/** Returns the mutants to run, in an order that depends on the seed. A mutant keeps its rank when other code changes. */
function choose(all: readonly Mutant[]): Mutant[] {
  const rank = ({ hash }: Mutant) => createHash("sha256").update(`${options.seed}\0${hash}`).digest("hex");
  const wanted = all.filter(
    ({ file }) => options.only.length === 0 || options.only.some((path) => file.startsWith(path)),
  );
  const ranked = wanted.map((mutant) => ({ mutant, rank: rank(mutant) }));
  ranked.sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return ranked.slice(0, Number(options.sample ?? Infinity)).map(({ mutant }) => mutant);
}

/** A run of a test file without a mutant. */
interface UsualRun {
  file: string;
  /** How long it takes to start, and each of its tests, in milliseconds. */
  startMs: number;
  tests: { id: string; milliseconds: number; reached: Set<number> }[];
  reachedOutside: Set<number>;
  /** How many mutants of each source the file killed. It runs earlier for the other mutants of those sources. */
  kills: Map<string, number>;
}

/** Runs each test file without a mutant. One that fails is left out, because its failures would say nothing. */
async function usualRuns(): Promise<UsualRun[]> {
  const found: UsualRun[] = [];
  const all = globSync(["test/unit/**/*.test.ts", "packages/*/test/unit/**/*.test.ts"]).toSorted();
  const wanted = all.filter((file) => options.tests.some((name) => file.includes(name)));
  await inParallel(wanted, async (file, runner) => {
    const task = { file, mutant: null };
    // A machine under load may be too slow for a test once.
    let outcome: Outcome | undefined;
    for (let attempt = 0; attempt < USUAL_ATTEMPTS && !outcome?.isPassed; attempt++) {
      outcome = await runner.run(task, USUAL_TIMEOUT_MS);
    }
    if (!outcome?.isPassed) {
      console.log(`${file} is left out, because it fails without a mutant: ${outcome?.failure ?? "it hangs"}`);
      return;
    }
    const { milliseconds, durations, reached } = outcome;
    const tests = Object.entries(durations).map(([id, duration]) => ({
      id,
      milliseconds: duration,
      reached: new Set(reached[id]),
    }));
    const startMs = Math.max(0, milliseconds - sum(Object.values(durations)));
    found.push({ file, startMs, tests, reachedOutside: new Set(reached["outside"]), kills: new Map() });
  });
  return found;
}

/** The tests of a file that reach a mutant, and how long they usually take. */
interface Trial {
  run: UsualRun;
  tests: string[];
  milliseconds: number;
}

/** Returns the files to run for a mutant, fast ones first. A file counts as faster if it has killed other mutants of the source. */
function trialsOf({ id, file }: Mutant): Trial[] {
  const trials = files.flatMap((run) => {
    const tests = run.tests.filter(({ reached }) => run.reachedOutside.has(id) || reached.has(id));
    const milliseconds = run.startMs + sum(tests.map((test) => test.milliseconds));
    return tests.length === 0 ? [] : { run, tests: tests.map((test) => test.id), milliseconds };
  });
  const usual = trials.filter(({ run }) => !LAST_RESORT.test(run.file));
  const cost = ({ run, milliseconds }: Trial) => milliseconds / (1 + (run.kills.get(file) ?? 0));
  return (usual.length > 0 ? usual : trials).toSorted((a, b) => cost(a) - cost(b));
}

/** Runs the tests that reach a mutant until one fails. */
async function tryOut(mutant: Mutant, runner: Runner): Promise<Pick<Result, "status" | "by" | "failure">> {
  const trials = trialsOf(mutant);
  for (const { run, tests, milliseconds } of trials) {
    const timeoutMs = milliseconds * TIMEOUT_FACTOR + TIMEOUT_GRACE_MS;
    const outcome = await runner.run({ file: run.file, tests, mutant: mutant.id }, timeoutMs);
    if (outcome?.isPassed) continue;
    run.kills.set(mutant.file, (run.kills.get(mutant.file) ?? 0) + 1);
    if (!outcome) return { status: "timeout", by: run.file };
    return { status: "killed", by: run.file, failure: outcome.failure ?? "" };
  }
  return { status: trials.length === 0 ? "not covered" : "survived" };
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** Calls a function with each item, with as many calls at the same time as there are runners. */
async function inParallel<T>(items: readonly T[], act: (item: T, runner: Runner) => Promise<void>): Promise<void> {
  const waiting = items.values();
  await Promise.all(
    runners.map(async (runner) => {
      for (const item of waiting) await act(item, runner);
    }),
  );
}

function note(result: Result): void {
  results.push(result);
  const { file, line, column, original, replacement, status } = result;
  console.log(
    `${results.length}/${chosen.length} ${status}: ${file}:${line}:${column}  ${original}  →  ${replacement}`,
  );
  writeFileSync(
    options.out,
    JSON.stringify({ options, mutants: mutants.length, chosen: chosen.length, results }, null, 1),
  );
}

/** Prints the report and ends. */
function finish(): never {
  for (const runner of runners) runner.stop();
  console.log(`\nSurvivors and code that no test reaches:\n`);
  for (const { file, line, column, operator, original, replacement, status } of results.toSorted(
    (a, b) => a.id - b.id,
  )) {
    if (status === "killed" || status === "timeout") continue;
    console.log(`${status}  ${file}:${line}:${column}  ${operator}\n    ${original}\n  → ${replacement}`);
  }
  const groups = Map.groupBy(results, ({ file }) => dirname(file));
  const rows = [...groups, ["all", results] as const].toSorted(([a], [b]) => (a < b ? 1 : -1));
  console.log();
  console.table(Object.fromEntries(rows.map(([directory, group]) => [directory, summaryOf(group)])));
  process.exit();
}

function summaryOf(group: readonly Result[]): Record<string, number | string> {
  const counts = STATUSES.map((status) => [status, group.filter((result) => result.status === status).length] as const);
  const detected = group.filter(({ status }) => status === "killed" || status === "timeout").length;
  return {
    mutants: group.length,
    ...Object.fromEntries(counts),
    detected: `${Math.round((100 * detected) / group.length)} %`,
  };
}
