/**
 * `npm run mutate`: how much the unit tests notice. Changes the sources in one small place at a time (a mutant), and runs tests that
 * reach the place until one of them fails.
 *
 *   --sample N   only N mutants, chosen by the seed (default: all)
 *   --seed S     which ones are chosen, and their order (default: 1)
 *   --only PATH  only in files below this path; may be given several times
 *   --tests NAME only test files whose path contains this; may be given several times. Quick while you write tests
 *   --jobs N     how many test files run at the same time (default: 2)
 *   --out FILE   where the report goes, as JSON (default: mutation.json)
 *   --resume     continue with the report that exists: mutants that it holds are not run again
 *   --retry      with --resume, run its survivors again
 *
 * The report is written as it grows. scripts/mutation/explained.json lists mutants that no test can notice, each with the reason; they
 * are not run.
 */
import { createHash } from "node:crypto";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { type Mutant, mutantsIn } from "./mutation/mutants.ts";
import { RunnerProcess } from "./mutation/process.ts";
import type { FirstIds, Result } from "./mutation/runner.ts";
import { type Batch, type ProfiledTest, Trials, type Verdict } from "./mutation/trials.ts";

/** The sources that are mutated. */
const SOURCES = ["src/auth/**/*.ts", "src/channel/**/*.ts", "src/http/**/*.ts", "src/protocol/**/*.ts"];
/** Files that try at random what others test one by one: they run only for mutants that nothing else reaches. */
const LAST_RESORT = /\/(?:corpora|simulation)\.test\.ts$/;
/** Tests hang if they take so many times their usual time, and so many milliseconds more. */
const TIMEOUT_FACTOR = 4;
const TIMEOUT_GRACE_MS = 60_000;
const PROFILE_TIMEOUT_MS = 1_200_000;
/** How long the tests for one mutant that is on from the start may take together, in milliseconds. */
const FROM_START_MS = 20_000;
const IDLE_MS = 100;
const STATUSES = ["killed", "timeout", "survived", "not covered", "explained"] as const;
const EXPLAINED_FILE = "scripts/mutation/explained.json";

interface Report extends Mutant, Verdict {}

/** A mutant that no test can notice, and why. The other fields are for the reader. */
interface Explanation extends Pick<Mutant, "hash" | "file" | "original" | "replacement"> {
  why: string;
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
    retry: { type: "boolean", default: false },
  },
});

const { mutants, firstIds } = findMutants();
const chosen = choose(mutants);
const processes = Array.from({ length: Number(options.jobs) }, () => new RunnerProcess(firstIds));
const reports = options.resume ? earlierReports() : [];
const explained = explanations();
/** The mutants reached while no test ran: while the modules were loaded, and between tests. */
const outside = new Set<number>();
/** How many mutants of a source a test file killed that were on from the start, by both their paths. */
const startKills = new Map<string, number>();

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => finish());
console.log(`${mutants.length} mutants, ${chosen.length} of them chosen. Running the tests without any …`);
const { tests, lastResort } = await profile();
const known = new Set(reports.map(({ hash }) => hash));
await tryInBatches(chosen.filter((mutant) => !known.has(mutant.hash) && !isExplained(mutant)));
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

/** Returns what the report says of the chosen mutants already. */
function earlierReports(): Report[] {
  const earlier = JSON.parse(readFileSync(options.out, "utf8")) as { results: Report[] };
  const byHash = new Map(earlier.results.map((report) => [report.hash, report]));
  return chosen.flatMap((mutant) => {
    const report = byHash.get(mutant.hash);
    if (!report || report.status === "explained") return [];
    const isRetried = options.retry && (report.status === "survived" || report.status === "not covered");
    return isRetried ? [] : { ...report, ...mutant };
  });
}

function explanations(): Map<string, Explanation> {
  const all = JSON.parse(readFileSync(EXPLAINED_FILE, "utf8")) as Explanation[];
  const hashes = new Set(mutants.map(({ hash }) => hash));
  for (const { hash, file, original, replacement } of all) {
    if (hashes.has(hash)) continue;
    console.log(`${EXPLAINED_FILE} explains a mutant that no longer exists: ${file}  ${original}  →  ${replacement}`);
  }
  return new Map(all.map((explanation) => [explanation.hash, explanation]));
}

/** Reports a mutant that is explained. */
function isExplained(mutant: Mutant): boolean {
  const explanation = explained.get(mutant.hash);
  if (explanation) note(mutant, { status: "explained", failure: explanation.why });
  return explanation !== undefined;
}

/** Returns the mutants to try, in an order by the seed. A mutant keeps its rank when other code changes. */
function choose(all: readonly Mutant[]): Mutant[] {
  const rank = ({ hash }: Mutant) => createHash("sha256").update(`${options.seed}\0${hash}`).digest("hex");
  const wanted = all.filter(
    ({ file }) => options.only.length === 0 || options.only.some((path) => file.startsWith(path)),
  );
  const ranked = wanted.map((mutant) => ({ mutant, rank: rank(mutant) }));
  ranked.sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return ranked.slice(0, Number(options.sample ?? Infinity)).map(({ mutant }) => mutant);
}

/** Runs all tests without a mutant. Those that fail are left out, because their failures would say nothing. */
async function profile(): Promise<{ tests: ProfiledTest[]; lastResort: ProfiledTest[] }> {
  const files = globSync("test/unit/**/*.test.ts").toSorted();
  const wanted = files.filter((file) => options.tests.some((name) => file.includes(name)));
  const usual = wanted.filter((file) => !LAST_RESORT.test(file));
  const [usualTests, others] = await Promise.all([
    profileOf(usual, processes[0]),
    profileOf(
      wanted.filter((file) => LAST_RESORT.test(file)),
      processes[1] ?? processes[0],
    ),
  ]);
  return { tests: usualTests ?? [], lastResort: others ?? [] };
}

/** Runs the tests of some files twice: a busy machine may be too slow for a test once. */
async function profileOf(files: readonly string[], runner: RunnerProcess | undefined): Promise<ProfiledTest[]> {
  if (files.length === 0 || !runner) return [];
  const task = { tests: Object.fromEntries(files.map((file) => [file, []])), plan: { isProfile: true } };
  const { outcome, results } = await runner.run(task, PROFILE_TIMEOUT_MS);
  if (typeof outcome === "string") throw new Error(`The tests do not end without a mutant: ${outcome}.`);
  for (const { failure } of results) if (failure !== undefined) console.log(`Left out: ${failure}`);
  const passed = results.filter(({ failure }) => failure === undefined);
  for (const id of outcome.reached["outside"] ?? []) outside.add(id);
  return passed.map(({ test, file, milliseconds }) => ({
    id: test,
    file,
    milliseconds,
    reached: new Set(outcome.reached[test]),
  }));
}

/** Returns the tests that may notice a mutant. Which of them read a constant is not known: those that reach its source may. */
function testsFor(mutant: Mutant): ProfiledTest[] {
  if (!mutant.isConstant) return tests.filter(({ reached }) => reached.has(mutant.id));
  const ofSource = mutants.filter(({ file, isConstant }) => file === mutant.file && !isConstant);
  const reaching = tests.filter(({ reached }) => ofSource.some(({ id }) => reached.has(id)));
  return reaching.length > 0 ? reaching : tests;
}

/** Tries tests on many mutants at the same time. */
async function tryInBatches(candidates: readonly Mutant[]): Promise<void> {
  const pairs = candidates.map((mutant) => ({ mutant, tests: testsFor(mutant) }));
  const survivors: Mutant[] = [];
  const trials = new Trials(
    tests,
    pairs.filter((pair) => pair.tests.length > 0),
    (mutant, verdict) => {
      // A constant may have been read when the modules were loaded, and is tried again with the mutant on from the start.
      if (verdict.status === "survived" && mutant.isConstant) survivors.push(mutant);
      else note(mutant, verdict);
    },
  );
  await Promise.all(processes.map((runner) => tryAll(trials, runner)));
  const { run, failed } = trials.controls;
  console.log(`Of ${run} tests that ran without a mutant in between, ${failed} failed.`);
  const unreached = pairs.filter((pair) => pair.tests.length === 0).map(({ mutant }) => mutant);
  await inParallel([...unreached, ...survivors], async (mutant, runner) => {
    note(mutant, await tryFromStart(mutant, runner));
  });
}

async function tryAll(trials: Trials, runner: RunnerProcess): Promise<void> {
  while (trials.left > 0) {
    const batch = trials.next();
    if (batch.size > 0) await tryBatch(trials, batch, runner);
    // The other process has what is left.
    else await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  }
}

async function tryBatch(trials: Trials, batch: Batch, runner: RunnerProcess): Promise<void> {
  const mutantIds: Record<string, number> = {};
  for (const [test, mutant] of batch) if (mutant) mutantIds[test.id] = mutant.id;
  const { outcome, results } = await runner.run(
    { tests: byFile([...batch.keys()]), plan: { mutants: mutantIds } },
    timeoutFor([...batch.keys()]),
  );
  const ended = new Map(results.map(({ test, failure }) => [test, failure]));
  const hanging = typeof outcome === "string" ? hangingIn(batch, results) : [];
  const suspects = hanging.flatMap((test) => [batch.get(test) ?? []].flat().map((mutant) => ({ test, mutant })));
  console.log(
    `${trials.left} left; a batch of ${batch.size} tests, ${results.length} ended${typeof outcome === "string" ? `, then ${outcome}` : ""}.`,
  );
  for (const { test, mutant } of suspects) {
    const verdict = await tryAlone(mutant, test, runner);
    if (verdict) trials.decide(mutant, verdict);
    else ended.set(test.id, undefined);
  }
  trials.finish(batch, ended);
}

/** Returns the tests of a batch that may hang: the first one without a result of each file that has begun, as results come late. */
function hangingIn(batch: Batch, results: readonly Result[]): ProfiledTest[] {
  const ended = new Set(results.map(({ test }) => test));
  const last = results.at(-1)?.file;
  const waiting = tests.filter((test) => batch.has(test) && !ended.has(test.id));
  const first = waiting.find(({ file }) => file === last) ?? waiting[0];
  return first ? [first] : [];
}

/** Runs one test on a mutant. Returns undefined if it passes. */
async function tryAlone(mutant: Mutant, test: ProfiledTest, runner: RunnerProcess): Promise<Verdict | undefined> {
  const task = { tests: byFile([test]), plan: { mutant: mutant.id } };
  const { outcome } = await runner.run(task, timeoutFor([test]));
  if (typeof outcome === "string") return { status: "timeout", by: test.file };
  if (outcome.failure === undefined) return undefined;
  return { status: "killed", by: test.file, failure: outcome.failure };
}

/** Runs tests with a mutant that is on from before the modules are loaded, as for a value that they compute while they load. */
async function tryFromStart(mutant: Mutant, runner: RunnerProcess): Promise<Verdict> {
  if (!outside.has(mutant.id)) {
    const resort = lastResort.filter(({ reached }) => reached.has(mutant.id));
    return resort.length === 0 ? { status: "not covered" } : verdictOf(mutant, resort, runner);
  }
  const siblings = mutants.filter(({ file }) => file === mutant.file);
  const nearness = (test: ProfiledTest) =>
    (startKills.get(`${test.file} ${mutant.file}`) ?? 0) +
    siblings.filter(({ id }) => test.reached.has(id)).length / siblings.length;
  const ranked = tests
    .map((test) => ({ test, value: (0.05 + nearness(test)) / (test.milliseconds + 20) }))
    .toSorted((a, b) => b.value - a.value);
  const wanted: ProfiledTest[] = [];
  let milliseconds = 0;
  for (const { test } of ranked) {
    if (milliseconds + test.milliseconds > FROM_START_MS) continue;
    milliseconds += test.milliseconds;
    wanted.push(test);
  }
  return verdictOf(mutant, wanted, runner);
}

async function verdictOf(mutant: Mutant, wanted: ProfiledTest[], runner: RunnerProcess): Promise<Verdict> {
  const { outcome, results } = await runner.run(
    { tests: byFile(wanted), plan: { mutant: mutant.id } },
    timeoutFor(wanted),
  );
  if (typeof outcome === "string") return { status: "timeout" };
  if (outcome.failure === undefined) return { status: "survived" };
  const by = results.find(({ failure }) => failure !== undefined)?.file ?? "";
  startKills.set(`${by} ${mutant.file}`, (startKills.get(`${by} ${mutant.file}`) ?? 0) + 1);
  return { status: "killed", by, failure: outcome.failure };
}

/** Returns the ids of tests by their file, the files in the order of the tests. */
function byFile(wanted: readonly ProfiledTest[]): Record<string, string[]> {
  const files = Map.groupBy(wanted, ({ file }) => file);
  return Object.fromEntries([...files].map(([file, group]) => [file, group.map(({ id }) => id)]));
}

function timeoutFor(wanted: readonly ProfiledTest[]): number {
  return wanted.reduce((total, { milliseconds }) => total + milliseconds * TIMEOUT_FACTOR, TIMEOUT_GRACE_MS);
}

/** Does something with each item, with as many at the same time as there are processes. */
async function inParallel<T>(
  items: readonly T[],
  act: (item: T, runner: RunnerProcess) => Promise<void>,
): Promise<void> {
  const waiting = items.values();
  await Promise.all(
    processes.map(async (runner) => {
      for (const item of waiting) await act(item, runner);
    }),
  );
}

function note(mutant: Mutant, verdict: Verdict): void {
  reports.push({ ...mutant, ...verdict });
  const { file, line, column, original, replacement } = mutant;
  console.log(
    `${reports.length}/${chosen.length} ${verdict.status}: ${file}:${line}:${column}  ${original}  →  ${replacement}`,
  );
  const report = { options, mutants: mutants.length, chosen: chosen.length, results: reports };
  writeFileSync(options.out, JSON.stringify(report, null, 1));
}

/** Prints the report and ends. */
function finish(): never {
  for (const runner of processes) runner.stop();
  console.log(`\nSurvivors and code that no test reaches:\n`);
  for (const { file, line, column, operator, original, replacement, status } of reports.toSorted(
    (a, b) => a.id - b.id,
  )) {
    if (status !== "survived" && status !== "not covered") continue;
    console.log(`${status}  ${file}:${line}:${column}  ${operator}\n    ${original}\n  → ${replacement}`);
  }
  const groups = Map.groupBy(reports, ({ file }) => dirname(file));
  const rows = [...groups, ["all", reports] as const].toSorted(([a], [b]) => (a < b ? 1 : -1));
  console.log();
  console.table(Object.fromEntries(rows.map(([directory, group]) => [directory, summaryOf(group)])));
  process.exit();
}

function summaryOf(group: readonly Report[]): Record<string, number | string> {
  const counts = STATUSES.map((status) => [status, group.filter((report) => report.status === status).length] as const);
  const detected = group.filter(({ status }) => status === "killed" || status === "timeout").length;
  return {
    mutants: group.length,
    ...Object.fromEntries(counts),
    detected: `${Math.round((100 * detected) / group.length)} %`,
  };
}
