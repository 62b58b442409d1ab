/**
 * A process that keeps Vitest warm and runs tests, all in one Workers runtime, because starting one takes longer than most tests
 * do. scripts/mutation/process.ts starts it with the ids of the mutants to build in and sends it tasks. It answers with a `Result`
 * for each test, and at the end with an `Outcome`.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { relative } from "node:path";
import { createVitest, type TestCase, type TestModule } from "vitest/node";
import config from "../../vitest.config.ts";
import { mutantsIn, withMutants } from "./mutants.ts";

/** One run of a test. */
export interface Attempt {
  /** The mutant that is on; null for none. */
  mutant: number | null;
  /** After how long the test has failed, in milliseconds. */
  limitMs: number;
}

/** Which mutants are on while tests run. */
export interface Plan {
  /** Record which mutants the tests reach. */
  isProfile?: boolean;
  /** The one mutant that is on for the whole run, from before the modules are loaded. */
  mutant?: number;
  /** What each test runs with, one attempt after the other, by the test's id. A test that is not listed runs `PROFILE_RUNS` times. */
  attempts: Record<string, Attempt[]>;
}

/** Tests to run. */
export interface Task {
  /** The ids of the tests by their file; all tests of the file if the list is empty. */
  tests: Record<string, string[]>;
  plan: Plan;
}

/** What became of one attempt. */
export interface Run {
  milliseconds: number;
  /** The test's name and its first error; undefined if it passed. */
  failure: string | undefined;
  /** Whether the test was left out, because an earlier one noticed the same mutant. */
  isSkipped: boolean;
}

/** The result of one test, with all its attempts in their order. */
export interface Result {
  test: string;
  file: string;
  runs: Run[];
}

/** Says that an attempt begins: if the process stalls, it is this one that hangs. */
export interface Progress {
  test: string;
  /** Which attempt of the test it is, counted from 0. */
  attempt: number;
}

/** The end of a task. */
export interface Outcome {
  /** The first error; undefined if all tests passed. */
  failure?: string;
  /** With a profile: the ids of the mutants that each test reached, and those reached `outside` of tests. */
  reached: Record<string, number[]>;
  milliseconds: number;
}

declare module "vitest" {
  interface ProvidedContext {
    plan: Plan;
    /** The address that takes a `Progress` as JSON. */
    progressUrl: string;
  }
}

/** Where each mutated source's ids begin. */
export type FirstIds = Record<string, number>;

/** How long a test or a hook may take while no attempt limits it, in milliseconds. */
const TEST_TIMEOUT_MS = 120_000;

const firstIds = JSON.parse(process.argv[2] ?? "{}") as FirstIds;

const [unit] = config.test?.projects ?? [];
if (typeof unit !== "object" || !("plugins" in unit)) throw new Error("vitest.config.ts has no unit project.");

const progressUrl = await listen();
const vitest = await createVitest(
  "test",
  {
    ...unit.test,
    config: false,
    watch: false,
    reporters: [
      {
        onTestCaseResult: (test: TestCase) =>
          void (test.result().state !== "skipped" && process.send?.(resultOf(test))),
      },
    ],
    onConsoleLog: () => false,
    // The cache on disk does not know the mutants, and would serve them to others.
    fsModuleCache: false,
    testTimeout: TEST_TIMEOUT_MS,
    hookTimeout: TEST_TIMEOUT_MS,
    maxWorkers: 1,
    isolate: false,
    provide: { plan: { attempts: {} }, progressUrl },
    setupFiles: ["scripts/mutation/setup.ts", ...[unit.test?.setupFiles ?? []].flat()],
  },
  { define: unit.define ?? {}, plugins: [...(unit.plugins ?? []), mutation()] },
);

process.on("message", (task: Task) => {
  void run(task).then((outcome) => process.send?.(outcome));
});
process.on("disconnect", () => process.exit());
process.send?.("ready");

/** Passes on what the tests report before each attempt: a test that never yields would keep Vitest's own reports back. */
async function listen(): Promise<string> {
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (part) => (text += part));
    request.on("end", () => {
      process.send?.({ progress: JSON.parse(text) as Progress });
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Builds the mutants into the sources as they are loaded. */
function mutation() {
  return {
    name: "mutation",
    enforce: "pre" as const,
    transform(code: string, id: string) {
      const file = relative(process.cwd(), id);
      const firstId = firstIds[file];
      if (firstId === undefined) return;
      return { code: withMutants(file, code, mutantsIn(file, code, firstId).edits, firstId), map: null };
    },
  };
}

async function run({ tests, plan }: Task): Promise<Outcome> {
  const began = Date.now();
  vitest.state.filesMap.clear();
  vitest.state.errorsSet.clear();
  const project = vitest.getRootProject();
  vitest.provide("plan", plan);
  // In a batch each attempt has a mutant of its own. Of a mutant that is on all the time, the first failure says enough.
  project.config.bail = plan.mutant === undefined ? 0 : 1;
  vitest.config.bail = project.config.bail;
  const specifications = Object.entries(tests).map(([file, testIds]) =>
    project.createSpecification(file, testIds.length === 0 ? undefined : { testIds }),
  );
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications(specifications);
  const reached: Record<string, number[]> = {};
  const outside = new Set<number>();
  for (const module of testModules) {
    const meta = module.meta() as Partial<Outcome>;
    for (const id of meta.reached?.["outside"] ?? []) outside.add(id);
    Object.assign(reached, meta.reached);
  }
  const failure = testModules.map(failureOf).find((text) => text !== undefined);
  const outcome = { reached: { ...reached, outside: [...outside] }, milliseconds: Date.now() - began };
  if (failure === undefined && unhandledErrors.length === 0) return outcome;
  return { ...outcome, failure: failure ?? firstLine(unhandledErrors as { message?: string }[]) };
}

function failureOf(module: TestModule): string | undefined {
  const failed = module.children.allTests("failed").next().value;
  if (failed) return resultOf(failed).runs.find(({ failure }) => failure !== undefined)?.failure ?? failed.fullName;
  return module.errors().length > 0 ? firstLine(module.errors()) : undefined;
}

function resultOf(test: TestCase): Result {
  const file = relative(process.cwd(), test.module.moduleId);
  const { skipped = [] } = test.meta() as { skipped?: number[] };
  const runs = test.attempts().map(({ state, errors = [], duration, repeatIndex }) => ({
    milliseconds: duration,
    isSkipped: skipped.includes(repeatIndex),
    failure: state === "failed" ? `${test.fullName}: ${firstLine(errors)}` : undefined,
  }));
  return { test: test.id, file, runs };
}

function firstLine([error]: readonly { message?: string }[]): string {
  return (error?.message ?? "the file did not run").split("\n", 1).join("");
}
