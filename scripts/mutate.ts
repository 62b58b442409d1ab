/**
 * `npm run mutate`: measures how many faults the unit tests detect. Makes one small change to the sources at a time (a mutant), and
 * runs tests that reach it until one of them fails.
 *
 *   --sample N   run only N mutants, chosen by the seed (default: all)
 *   --seed S     which ones are chosen, and their order (default: 1)
 *   --only PATH  only in files below this path; may be given several times
 *   --tests NAME only test files whose path contains this; may be given several times. Quick while you write tests
 *   --jobs N     how many test files run at the same time (default: 2)
 *   --out FILE   where the report goes, as JSON (default: mutation.json)
 *   --resume     continue the existing report: its mutants are not run again
 *   --retry      with --resume, run its survivors again
 *
 * The report is written as it grows. Mutants run in groups of random order, so that the finished groups of a run that is stopped early
 * are a random sample. scripts/mutation/explained.json lists mutants that no test can detect, each with the reason. They are not run.
 */
import { createHash } from "node:crypto";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { type Mutant, mutantsIn } from "./mutation/mutants.ts";
import { RunnerProcess } from "./mutation/process.ts";
import { type ProfiledTest, profileOf, profilePaths } from "./mutation/profile.ts";
import type { Event, FirstIds, Trial } from "./mutation/runner.ts";
import { type Candidate, costMs, Reach, Scores, type Status, TESTS_PER_ROUND } from "./mutation/trials.ts";

/** The sources that are mutated. */
const SOURCES = ["adapters", "archive", "auth", "channel", "http", "protocol", "settings", "shared"].map(
  (name) => `src/${name}/**/*.ts`,
);
const TEST_FILES = ["test/unit/**/*.test.ts", "test/security/**/*.test.ts", "packages/*/test/unit/**/*.test.ts"];
/** The simulation takes minutes, and tests no single line. */
const NEVER = /\/simulation\.test\.ts$/;
/** A test fails if it takes its usual time multiplied by the factor, plus the grace time. */
const LIMIT_FACTOR = 5;
const LIMIT_GRACE_MS = 2_000;
/** How many mutants finish before others begin. */
const GROUP_SIZE = 800;
/** How many test files try a mutant that must be on before the modules are loaded. Each starts its own runtime. */
const MAX_FILES_FROM_START = 12;
const SAVE_INTERVAL_MS = 2_000;
const STATUSES = ["killed", "timeout", "survived", "not covered", "explained"] as const;
const EXPLAINED_FILE = "scripts/mutation/explained.json";

interface Verdict {
  status: Status;
  /** The test file that failed, and its first failed test. */
  by?: string;
  failure?: string;
  /** For a survivor: how many tests may reach it that did not run with it, because they take too long together. */
  untried?: number;
}

interface Result extends Mutant, Verdict {}

/** A mutant that no test can detect, and why. The other fields are for the reader. */
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
const results = options.resume ? earlierResults() : [];
const explanations = readExplanations();
const scores = new Scores();
let savedAt = 0;

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => finish());
console.log(`${mutants.length} mutants, ${chosen.length} of them chosen. Running the tests without any …`);
const { tests, outside } = await profile();
const reach = new Reach(tests, mutants);
const known = new Set(results.map(({ hash }) => hash));
const left = chosen.filter((mutant) => !known.has(mutant.hash) && !isExplained(mutant));
while (left.length > 0) await tryGroup(left.splice(0, GROUP_SIZE));
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

/** Returns the chosen mutants' results that are already in the report. */
function earlierResults(): Result[] {
  const earlier = JSON.parse(readFileSync(options.out, "utf8")) as { results: Result[] };
  const byHash = new Map(earlier.results.map((result) => [result.hash, result]));
  return chosen.flatMap((mutant) => {
    const result = byHash.get(mutant.hash);
    if (!result || result.status === "explained") return [];
    const isRetried = options.retry && !isDetected(result);
    return isRetried ? [] : { ...result, ...mutant };
  });
}

function readExplanations(): Map<string, Explanation> {
  const all = JSON.parse(readFileSync(EXPLAINED_FILE, "utf8")) as Explanation[];
  const hashes = new Set(mutants.map(({ hash }) => hash));
  for (const { hash, file, original, replacement } of all) {
    if (hashes.has(hash)) continue;
    console.log(`${EXPLAINED_FILE} explains a mutant that no longer exists: ${file}  ${original}  →  ${replacement}`);
  }
  return new Map(all.map((explanation) => [explanation.hash, explanation]));
}

/** Whether a mutant is explained. Notes it if it is. */
function isExplained(mutant: Mutant): boolean {
  const explanation = explanations.get(mutant.hash);
  if (explanation) note(mutant, { status: "explained", failure: explanation.why });
  return explanation !== undefined;
}

/** Returns the tests, and for each file the mutants that it reached outside of tests. */
async function profile(): Promise<{ tests: ProfiledTest[]; outside: Map<string, Set<number>> }> {
  const all = globSync(TEST_FILES).toSorted();
  const files = all.filter((file) => !NEVER.test(file) && options.tests.some((name) => file.includes(name)));
  const found: ProfiledTest[] = [];
  const foundOutside = new Map<string, Set<number>>();
  await inParallel([...profilePaths(files)], async ([file, path], runner) => {
    const { tests: ofFile, outside: outsideOfFile } = await profileOf(file, path, runner);
    found.push(...ofFile);
    foundOutside.set(file, new Set(outsideOfFile));
  });
  return { tests: found, outside: foundOutside };
}

/** Tries mutants until each has a verdict. */
async function tryGroup(group: readonly Mutant[]): Promise<void> {
  const candidates = new Map(group.map((mutant) => [mutant.id, candidateOf(mutant)]));
  for (const count of TESTS_PER_ROUND) await tryRound(candidates, count);
  await inParallel([...candidates.values()], async ({ mutant, tests: rest }, runner) => {
    const verdict = await tryFromStart(mutant, runner);
    note(mutant, verdict.status === "survived" ? { ...verdict, untried: rest.size } : verdict);
  });
}

function candidateOf(mutant: Mutant): Candidate {
  const reaching = reach.of(mutant);
  const all = reaching.length > 0 ? reaching : outsideTests(mutant);
  return { mutant, tests: new Set(all.filter((test) => test.isRepeatable)), spentMs: 0, suspects: new Set() };
}

/** A test that tries a mutant. */
interface Pair {
  candidate: Candidate;
  test: ProfiledTest;
}

/** Returns the tests that may depend on a mutant that their file reached outside of tests. */
function outsideTests(mutant: Mutant): ProfiledTest[] {
  return reach.ofModule(mutant).filter(({ file }) => outside.get(file)?.has(mutant.id));
}

/** Tries each candidate with the tests that are most likely to detect it. Removes those that are detected. */
async function tryRound(candidates: Map<number, Candidate>, count: number): Promise<void> {
  const pairs = [...candidates.values()].flatMap((candidate) =>
    scores.best(candidate, count).map((test) => ({ candidate, test })),
  );
  const isWaiting = ({ candidate, test }: Pair) => candidates.has(candidate.mutant.id) && candidate.tests.has(test);
  const byFile = [...Map.groupBy(pairs, ({ test }) => test.file)];
  // Files with many trials first, so that no process waits for another at the end.
  byFile.sort(([, a], [, b]) => b.length - a.length);
  await inParallel(byFile, async ([file, ofFile], runner) => {
    for (let waiting = ofFile.filter(isWaiting); waiting.length > 0; waiting = waiting.filter(isWaiting)) {
      const isFinished = await tryFile(file, waiting, candidates, runner);
      const rest = waiting.filter(isWaiting);
      const tried = waiting.length - rest.length;
      console.log(`${file}: ${tried} of ${waiting.length} trials; ${candidates.size} mutants of the group left`);
      if (!isFinished || rest.length === 0) continue;
      console.log(`${file}: these tests do not run: ${[...new Set(rest.map(({ test }) => test.id))].join(", ")}`);
      for (const { candidate, test } of rest) candidate.tests.delete(test);
    }
  });
}

/** Runs a test file once, with one mutant after the other. Returns whether it ran to its end. */
async function tryFile(
  file: string,
  pairs: readonly Pair[],
  candidates: Map<number, Candidate>,
  runner: RunnerProcess,
): Promise<boolean> {
  const byTest = Map.groupBy(pairs, ({ test }) => test);
  const trials: Record<string, Trial[]> = {};
  const limitsMs: Record<string, number> = {};
  for (const [test, own] of byTest) {
    limitsMs[test.id] = limitOf(test);
    const all = own.map(({ candidate: { mutant, suspects } }) => ({
      mutant: mutant.id,
      isRepeated: suspects.has(test.id),
    }));
    // Suspects run in a new runtime first.
    trials[test.id] = all.toSorted((a, b) => Number(b.isRepeated) - Number(a.isRepeated));
  }
  const byId = new Map([...byTest.keys()].map((test) => [test.id, test]));
  let last: { test: ProfiledTest; mutant: number | null } | undefined;
  const onEvent = (event: Event): boolean => {
    const test = byId.get(event.test);
    if (!test) return false;
    if (event.event === "begins") {
      // Without a mutant, the test confirms the mutant before.
      last = { test, mutant: event.mutant ?? last?.mutant ?? null };
      return false;
    }
    const candidate = candidates.get(event.mutant);
    if (!candidate) return event.event === "broken";
    if (event.event === "broken") {
      candidate.suspects.add(test.id);
      return true;
    }
    scores.note(test, candidate.mutant, event.event === "failed");
    candidate.tests.delete(test);
    candidate.spentMs += costMs(test);
    if (event.event === "failed") {
      const isTimeout = event.failure.endsWith("took longer than its limit");
      decide(candidates, candidate, { status: isTimeout ? "timeout" : "killed", by: file, failure: event.failure });
    }
    return false;
  };
  const plan = { kind: "trials" as const, trials, limitsMs };
  const end = await runner.run({ file, tests: [...byId.keys()], plan }, onEvent);
  if (typeof end !== "string") return true;
  if (end === "stopped") return false;
  if (!last) throw new Error(`The tests of ${file} do not begin: ${end}.`);
  console.log(`${file} hangs: ${end}`);
  const candidate = candidates.get(last.mutant ?? -1);
  if (candidate?.suspects.has(last.test.id)) {
    scores.note(last.test, candidate.mutant, true);
    decide(candidates, candidate, { status: "timeout", by: file, failure: `The process ended: ${end}.` });
  }
  candidate?.suspects.add(last.test.id);
  return false;
}

function decide(candidates: Map<number, Candidate>, { mutant }: Candidate, verdict: Verdict): void {
  candidates.delete(mutant.id);
  note(mutant, verdict);
}

/** Tries a mutant that no repeated test has detected: with tests that cannot run twice, or on from before the modules are loaded. */
async function tryFromStart(mutant: Mutant, runner: RunnerProcess): Promise<Verdict> {
  const reaching = reach.of(mutant);
  const isReached = reaching.length > 0 || [...outside.values()].some((ids) => ids.has(mutant.id));
  if (!isReached) return { status: "not covered" };
  const once = reaching.filter((test) => !test.isRepeatable);
  const wanted = reaching.length > 0 ? once : outsideTests(mutant);
  const best = scores.best({ mutant, tests: new Set(wanted), spentMs: 0, suspects: new Set() }, Infinity);
  const files = new Set(best.map(({ file }) => file));
  for (const file of [...files].slice(0, MAX_FILES_FROM_START)) {
    // Without such code, a request may take another way. So tests that reached nothing of the module may fail, too.
    const own = (reaching.length > 0 ? once : tests).filter((test) => test.file === file);
    const first = await runFromStart(mutant, file, own, runner);
    // A busy machine may be too slow for a test once.
    const second = first && (await runFromStart(mutant, file, own, runner));
    if (second) return second;
  }
  return { status: "survived" };
}

/** Returns undefined if the tests pass. */
async function runFromStart(
  mutant: Mutant,
  file: string,
  own: readonly ProfiledTest[],
  runner: RunnerProcess,
): Promise<Verdict | undefined> {
  const limitsMs = Object.fromEntries(own.map((test) => [test.id, limitOf(test)]));
  const plan = { kind: "from start" as const, mutant: mutant.id, limitsMs };
  const end = await runner.run({ file, tests: own.map(({ id }) => id), plan }, () => false);
  if (typeof end === "string") return { status: "timeout", by: file, failure: `The process ended: ${end}.` };
  return end.failure === undefined ? undefined : { status: "killed", by: file, failure: end.failure };
}

/** Returns after how many milliseconds a test has failed. */
function limitOf({ milliseconds }: ProfiledTest): number {
  return milliseconds * LIMIT_FACTOR + LIMIT_GRACE_MS;
}

/** Calls a function with each item, with as many calls at the same time as there are processes. */
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
  results.push({ ...mutant, ...verdict });
  const { file, line, column, original, replacement } = mutant;
  console.log(
    `${results.length}/${chosen.length} ${verdict.status}: ${file}:${line}:${column}  ${original}  →  ${replacement}`,
  );
  if (Date.now() - savedAt > SAVE_INTERVAL_MS) save();
}

function save(): void {
  savedAt = Date.now();
  const report = { options, mutants: mutants.length, chosen: chosen.length, results };
  writeFileSync(options.out, JSON.stringify(report, null, 1));
}

/** Prints the report and ends. */
function finish(): never {
  for (const runner of processes) runner.stop();
  save();
  console.log(`\nSurvivors and code that no test reaches:\n`);
  for (const result of results.toSorted((a, b) => a.id - b.id)) {
    const { file, line, column, operator, original, replacement, status, untried = 0 } = result;
    if (status !== "survived" && status !== "not covered") continue;
    const heading = `${status}  ${file}:${line}:${column}  ${operator}${untried > 0 ? `  (${untried} tests untried)` : ""}`;
    console.log(`${heading}\n    ${original}\n  → ${replacement}`);
  }
  const groups = Map.groupBy(results, ({ file }) => dirname(file));
  const rows = [...groups, ["all", results] as const].toSorted(([a], [b]) => (a < b ? 1 : -1));
  console.log();
  console.table(Object.fromEntries(rows.map(([directory, group]) => [directory, summaryOf(group)])));
  process.exit();
}

function summaryOf(group: readonly Result[]): Record<string, number | string> {
  const counts = STATUSES.map((status) => [status, group.filter((result) => result.status === status).length] as const);
  return {
    mutants: group.length,
    ...Object.fromEntries(counts),
    detected: `${Math.round((100 * group.filter(isDetected).length) / group.length)} %`,
  };
}

function isDetected({ status }: Result): boolean {
  return status === "killed" || status === "timeout";
}
