/**
 * `npm run mutate`: how much the unit tests notice. Changes the sources in one small place at a time (a mutant), and runs tests that
 * reach the place until one of them fails.
 *
 *   --sample N   only N mutants, chosen by the seed (default: all)
 *   --seed S     which ones are chosen, and their order (default: 1)
 *   --only PATH  only in files below this path; may be given several times
 *   --tests NAME only test files whose path contains this; may be given several times. Quick while you write tests
 *   --jobs N     how many processes run tests (default: 2)
 *   --out FILE   where the report goes, as JSON (default: mutation.json)
 *   --resume     continue with the report that exists: mutants that it holds are not run again
 *   --retry      with --resume, run its survivors again
 *
 * The report is written as it grows. scripts/mutation/explained.json lists mutants that no test can notice, each with the reason; they
 * are not run.
 */
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { type Mutant, mutantsIn } from "./mutation/mutants.ts";
import { RunnerProcess } from "./mutation/process.ts";
import type { Attempt, FirstIds } from "./mutation/runner.ts";
import { type Batch, isTimeout, type ProfiledTest, Trials, type Verdict } from "./mutation/trials.ts";

/** The sources that are mutated. */
const SOURCES = ["adapters", "archive", "auth", "channel", "http", "protocol", "settings", "shared"].map(
  (directory) => `src/${directory}/**/*.ts`,
);
/** Files that try many cases at once: they run only for mutants that the others do not notice, as all slow tests do. */
const LAST_RESORT = /(?:^test\/security\/|\/corpora\.test\.ts$)/;
/** A test that takes longer is slow, in milliseconds. */
const SLOW_MS = 3_000;
/** The simulation takes minutes, and says little about one line. */
const NEVER = /\/simulation\.test\.ts$/;
/** A test has failed if it takes so many times its usual time, and so many milliseconds more. */
const LIMIT_FACTOR = 5;
const LIMIT_GRACE_MS = 2_000;
/** How much longer it may take when it has failed before. */
const CONFIRMATION_FACTOR = 3;
/** A process hangs if it begins no test for so many milliseconds more than one may take. It includes the start of a runtime. */
const STALL_GRACE_MS = 300_000;
const PROFILE_STALL_MS = 600_000;
const FILES_PER_PROFILE = 10;
/** What the tests of each file took and reached without a mutant, kept while neither the file nor the sources change. */
const PROFILE_DIRECTORY = "node_modules/.cache/mutation";
/** What all profiles depend on. */
const PROFILED_FILES = ["src/**/*.ts", "scripts/mutation/mutants.ts", "package-lock.json"];
/** How long the tests for one mutant that is on from the start may take together, in milliseconds. */
const FROM_START_MS = 10_000;
/** How often the report is written at most. */
const SAVE_INTERVAL_MS = 2_000;
const IDLE_MS = 100;
const STATUSES = ["killed", "timeout", "survived", "not covered", "explained"] as const;
const EXPLAINED_FILE = "scripts/mutation/explained.json";

interface Report extends Mutant, Verdict {}

/** What is known about the tests of a file. */
interface ProfileData {
  tests: (Omit<ProfiledTest, "reached"> & { reached: number[] })[];
  outside: number[];
}

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
/** The mutants that survived the usual tests. The others come last, because each run of them tries one mutant only. */
const survivors: Mutant[] = [];
let savedAt = 0;

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
  const files = globSync(["test/unit/**/*.test.ts", "test/security/**/*.test.ts"]).toSorted();
  const wanted = files.filter((file) => !NEVER.test(file) && options.tests.some((name) => file.includes(name)));
  const profiled = await profileOf(wanted);
  return { tests: profiled.filter((test) => !isLastResort(test)), lastResort: profiled.filter(isLastResort) };
}

function isLastResort({ file, milliseconds }: ProfiledTest): boolean {
  return LAST_RESORT.test(file) || milliseconds > SLOW_MS;
}

/** Returns the tests of some files as they are without a mutant: from the cache, or by running them. */
async function profileOf(files: readonly string[]): Promise<ProfiledTest[]> {
  const shared = createHash("sha256");
  for (const file of globSync(PROFILED_FILES).toSorted()) shared.update(`${file}\0`).update(readFileSync(file));
  const pathOf = (file: string) => {
    const hash = shared.copy().update(`${file}\0`).update(readFileSync(file)).digest("hex");
    return `${PROFILE_DIRECTORY}/${hash}.json`;
  };
  const paths = new Map(files.map((file) => [file, pathOf(file)]));
  const missing = files.filter((file) => !existsSync(paths.get(file) ?? ""));
  mkdirSync(PROFILE_DIRECTORY, { recursive: true });
  await inParallel(chunksOf(missing, FILES_PER_PROFILE), async (chunk, runner) => {
    for (const [file, made] of await makeProfile(chunk, runner))
      writeFileSync(paths.get(file) ?? "", JSON.stringify(made));
  });
  const profiles = [...paths.values()].map((path) => JSON.parse(readFileSync(path, "utf8")) as ProfileData);
  for (const id of profiles.flatMap((data) => data.outside)) outside.add(id);
  return profiles.flatMap((data) => data.tests.map((test) => Object.assign(test, { reached: new Set(test.reached) })));
}

function chunksOf<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  );
}

/** Runs test files without a mutant. */
async function makeProfile(files: readonly string[], runner: RunnerProcess): Promise<Map<string, ProfileData>> {
  const task = { tests: Object.fromEntries(files.map((file) => [file, []])), plan: { isProfile: true, attempts: {} } };
  const { outcome, results } = await runner.run(task, PROFILE_STALL_MS);
  if (typeof outcome === "string") throw new Error(`The tests do not end without a mutant: ${outcome}.`);
  const empty = () => ({ tests: [], outside: outcome.reached["outside"] ?? [] });
  const profiles = new Map<string, ProfileData>(files.map((file) => [file, empty()]));
  for (const { test, file, runs } of results) {
    const [first] = runs;
    const failed = runs.find(({ failure }) => failure !== undefined);
    if (failed) console.log(`${failed === first ? "Left out" : "Fails if repeated"}: ${failed.failure}`);
    if (!first || failed === first) continue;
    const passed = runs.filter(({ failure }) => failure === undefined);
    const milliseconds = Math.min(...passed.map((run) => run.milliseconds));
    const reached = outcome.reached[test] ?? [];
    profiles.get(file)?.tests.push({ id: test, file, milliseconds, isRepeatable: !failed, reached });
  }
  console.log(`${files.join(", ")}: ${results.length} tests in ${outcome.milliseconds} ms.`);
  return profiles;
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
  const trials = new Trials(
    pairs.filter((pair) => pair.tests.length > 0),
    (mutant, verdict) => {
      if (verdict.status === "survived") survivors.push(mutant);
      else note(mutant, verdict);
    },
  );
  await Promise.all(processes.map((runner) => tryAll(trials, runner)));
  const { run, failed } = trials.controls;
  console.log(`Of ${run} tests that ran without a mutant in between, ${failed} failed.`);
  const unreached = pairs.filter((pair) => pair.tests.length === 0).map(({ mutant }) => mutant);
  await inParallel(unreached, async (mutant, runner) => {
    note(mutant, await tryFromStart(mutant, runner));
  });
  while (survivors.length > 0) {
    await inParallel(survivors.splice(0, processes.length), async (mutant, runner) => {
      note(mutant, await tryHarder(mutant, runner));
    });
  }
}

async function tryAll(trials: Trials, runner: RunnerProcess): Promise<void> {
  while (trials.left > 0) {
    const batch = trials.next();
    if (batch.size > 0) await tryBatch(trials, batch, runner);
    // The other processes have what is left.
    else await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  }
}

async function tryBatch(trials: Trials, batch: Batch, runner: RunnerProcess): Promise<void> {
  const attempts: Record<string, Attempt[]> = {};
  for (const [test, own] of batch) {
    attempts[test.id] = own.map(({ mutant, isConfirmation }) => ({
      mutant: mutant?.id ?? null,
      limitMs: limitOf(test) * (isConfirmation ? CONFIRMATION_FACTOR : 1),
    }));
  }
  const { outcome, results, last } = await runner.run(
    { tests: byFile([...batch.keys()]), plan: { attempts } },
    stallOf(attempts),
  );
  const ended = new Map(
    results.map(({ test, runs }) => [
      test,
      runs.map(({ failure, isSkipped }) => (isSkipped ? undefined : (failure ?? null))),
    ]),
  );
  const size = Object.values(attempts).flat().length;
  const end = typeof outcome === "string" ? outcome : `${outcome.milliseconds} ms`;
  console.log(`${trials.left} left; ${batch.size} tests with ${size} mutants, ${results.length} tests ended: ${end}.`);
  const [hanging, own = []] = [...batch].find(([test]) => test.id === last?.test) ?? [];
  const mutant = typeof outcome === "string" && last ? own[last.attempt]?.mutant : undefined;
  const verdict = hanging && mutant && (await tryAlone(mutant, hanging, runner));
  if (verdict) trials.decide(mutant, verdict);
  // Otherwise it counts as passed, because it might hang again.
  else if (hanging && mutant)
    ended.set(
      hanging.id,
      own.map((trial) => (trial.mutant === mutant ? null : undefined)),
    );
  trials.finish(batch, ended);
}

/** Runs one test on a mutant. Returns undefined if it passes. */
async function tryAlone(mutant: Mutant, test: ProfiledTest, runner: RunnerProcess): Promise<Verdict | undefined> {
  const verdict = await verdictOf(mutant, [test], runner);
  return verdict.status === "survived" ? undefined : verdict;
}

/** Tries a mutant that survived with the slow tests, and a constant from the start, as it may be used while modules are loaded. */
async function tryHarder(mutant: Mutant, runner: RunnerProcess): Promise<Verdict> {
  const slow = withinTime(lastResort.filter(({ reached }) => reached.has(mutant.id)));
  if (!mutant.isConstant) return slow.length > 0 ? verdictOf(mutant, slow, runner) : { status: "survived" };
  const verdict = await tryFromStart(mutant, runner);
  return verdict.status === "not covered" ? { status: "survived" } : verdict;
}

/** Runs tests with a mutant that is on from before the modules are loaded, as for a value that they compute while they load. */
async function tryFromStart(mutant: Mutant, runner: RunnerProcess): Promise<Verdict> {
  if (!outside.has(mutant.id)) {
    const resort = lastResort.filter(({ reached }) => reached.has(mutant.id));
    return resort.length === 0 ? { status: "not covered" } : verdictOf(mutant, withinTime(resort), runner);
  }
  const siblings = mutants.filter(({ file }) => file === mutant.file);
  const nearness = (test: ProfiledTest) =>
    (startKills.get(`${test.file} ${mutant.file}`) ?? 0) +
    siblings.filter(({ id }) => test.reached.has(id)).length / siblings.length;
  const ranked = tests
    .map((test) => ({ test, value: (0.05 + nearness(test)) / (test.milliseconds + 20) }))
    .toSorted((a, b) => b.value - a.value);
  return verdictOf(mutant, withinTime(ranked.map(({ test }) => test)), runner);
}

/** Returns the first tests that take `FROM_START_MS` together, without those that are too long for it, but at least one. */
function withinTime(wanted: readonly ProfiledTest[]): ProfiledTest[] {
  const chosenTests: ProfiledTest[] = [];
  let milliseconds = 0;
  for (const test of wanted) {
    if (milliseconds + test.milliseconds > FROM_START_MS && chosenTests.length > 0) continue;
    milliseconds += test.milliseconds;
    chosenTests.push(test);
  }
  return chosenTests;
}

/** Runs tests with one mutant, and the one that fails again. */
async function verdictOf(mutant: Mutant, wanted: ProfiledTest[], runner: RunnerProcess): Promise<Verdict> {
  const attempts = Object.fromEntries(
    wanted.map((test) => [test.id, [{ mutant: mutant.id, limitMs: limitOf(test) * CONFIRMATION_FACTOR }]]),
  );
  const task = { tests: byFile(wanted), plan: { mutant: mutant.id, attempts } };
  const { outcome, results } = await runner.run(task, stallOf(attempts));
  if (typeof outcome === "string") return { status: "timeout" };
  if (outcome.failure === undefined) return { status: "survived" };
  const failed = results.find(({ runs }) => runs.some(({ failure }) => failure !== undefined));
  const by = failed?.file ?? "";
  const again = wanted.filter(({ id }) => id === failed?.test);
  if (again.length > 0 && wanted.length > 1) return verdictOf(mutant, again, runner);
  startKills.set(`${by} ${mutant.file}`, (startKills.get(`${by} ${mutant.file}`) ?? 0) + 1);
  return { status: isTimeout(outcome.failure) ? "timeout" : "killed", by, failure: outcome.failure };
}

/** Returns the ids of tests by their file, the files in the order of the tests. */
function byFile(wanted: readonly ProfiledTest[]): Record<string, string[]> {
  const files = Map.groupBy(wanted, ({ file }) => file);
  return Object.fromEntries([...files].map(([file, group]) => [file, group.map(({ id }) => id)]));
}

/** Returns after how many milliseconds a test has failed. */
function limitOf({ milliseconds }: ProfiledTest): number {
  return milliseconds * LIMIT_FACTOR + LIMIT_GRACE_MS;
}

/** Returns for how many milliseconds a process may report nothing while it runs tests. */
function stallOf(attempts: Record<string, Attempt[]>): number {
  const limits = Object.values(attempts).flatMap((own) => own.map(({ limitMs }) => limitMs));
  return Math.max(...limits) + STALL_GRACE_MS;
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
  if (Date.now() - savedAt > SAVE_INTERVAL_MS) save();
}

function save(): void {
  savedAt = Date.now();
  const report = { options, mutants: mutants.length, chosen: chosen.length, results: reports };
  writeFileSync(options.out, JSON.stringify(report, null, 1));
}

/** Prints the report and ends. */
function finish(): never {
  for (const runner of processes) runner.stop();
  for (const mutant of survivors) reports.push({ ...mutant, status: "survived" });
  save();
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
