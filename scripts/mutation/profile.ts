/** What each test reaches and how long it takes without a mutant. */
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { RunnerProcess } from "./process.ts";
import type { Finished } from "./runner.ts";

/** A test, and how it runs without a mutant. */
export interface ProfiledTest {
  id: string;
  file: string;
  milliseconds: number;
  /** Whether it passes again in the same Workers runtime. */
  isRepeatable: boolean;
  /** The ids of the mutants that it reaches. */
  reached: ReadonlySet<number>;
}

export interface Profile {
  tests: ProfiledTest[];
  /** The ids of the mutants that were reached while modules were loaded, between tests, or only when a test ran first. */
  outside: number[];
}

/** Profiles are kept here while neither the test file, the sources nor the helpers of the tests change. */
const DIRECTORY = "node_modules/.cache/mutation";
const PROFILED_FILES = [
  "src/**/*.ts",
  "test/**/*.ts",
  "packages/*/{src,test}/**/*.ts",
  "scripts/mutation/mutants.ts",
  "package-lock.json",
];
const TEST_FILE = /\.test\.ts$/;
/** A busy machine may be too slow for a test once. */
const ATTEMPTS = 3;

/** Returns the path at which the profile of a test file is kept. */
export function profilePaths(files: readonly string[]): Map<string, string> {
  const shared = createHash("sha256");
  const inputs = globSync(PROFILED_FILES).filter((file) => !TEST_FILE.test(file));
  for (const file of inputs.toSorted()) shared.update(`${file}\0`).update(readFileSync(file));
  const hashOf = (file: string) => shared.copy().update(`${file}\0`).update(readFileSync(file)).digest("hex");
  return new Map(files.map((file) => [file, `${DIRECTORY}/${hashOf(file)}.json`]));
}

/** Returns the profile of a test file: the one that is kept, or a new one. Leaves out tests that fail without a mutant. */
export async function profileOf(file: string, path: string, runner: RunnerProcess): Promise<Profile> {
  if (!existsSync(path)) {
    mkdirSync(DIRECTORY, { recursive: true });
    writeFileSync(path, JSON.stringify(await makeProfile(file, runner)));
  }
  const { tests, outside } = JSON.parse(readFileSync(path, "utf8")) as Profile;
  return {
    tests: tests.map((test) => Object.assign(test, { reached: new Set(test.reached as Iterable<number>) })),
    outside,
  };
}

async function makeProfile(file: string, runner: RunnerProcess): Promise<object> {
  let finished = await runOnce(file, runner);
  for (let attempt = 1; attempt < ATTEMPTS && !isComplete(finished); attempt++) finished = await runOnce(file, runner);
  const tests = finished.runs.flatMap(({ test, milliseconds, failures, reached }) => {
    const [first, second] = failures;
    const failure = first ?? second;
    if (typeof failure === "string") console.log(`${file}: ${first ? "left out" : "not repeatable"}: ${failure}`);
    if (first !== null) return [];
    return [{ id: test, file, milliseconds: Math.min(...milliseconds), isRepeatable: second === null, reached }];
  });
  console.log(`${file}: ${tests.length} of ${finished.runs.length} tests pass, ${finished.milliseconds} ms`);
  return { tests, outside: finished.outside };
}

/** Whether all tests ran, and passed when they ran first. */
function isComplete({ runs }: Pick<Finished, "runs">): boolean {
  return runs.length > 0 && runs.every(({ failures: [first] }) => first === null);
}

async function runOnce(file: string, runner: RunnerProcess): Promise<Omit<Finished, "event">> {
  const end = await runner.run({ file, tests: [], plan: { kind: "profile" } }, () => false);
  if (typeof end !== "string") return end;
  console.log(`${file} does not end: ${end}`);
  return { runs: [], outside: [], milliseconds: 0 };
}
