/**
 * A process that keeps Vitest running and runs one test file at a time. scripts/mutation/process.ts starts it with the ids of the
 * mutants to build in, and sends it tasks. It sends back events while the tests run, and `Finished` at the end.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { relative } from "node:path";
import { createVitest, type TestModule } from "vitest/node";
import config from "../../vitest.config.ts";
import { mutantsIn, withMutants } from "./mutants.ts";

/** One mutant that a test tries. */
export interface Trial {
  mutant: number;
  /** Whether the test has failed with the mutant in an earlier runtime, and broke it or seemed to. */
  isRepeated: boolean;
}

/** What the tests of a file run with. */
export type Plan =
  /** Each test runs twice without a mutant. The mutants that it reaches are recorded. */
  | { kind: "profile" }
  /** Each test runs with one mutant after the other, by the test's id. */
  | { kind: "trials"; trials: Record<string, Trial[]>; limitsMs: Record<string, number> }
  /** One mutant is on from before the modules are loaded. */
  | { kind: "from start"; mutant: number; limitsMs: Record<string, number> };

export interface Task {
  file: string;
  /** The ids of the tests to run. If it is empty, all tests of the file run. */
  tests: string[];
  plan: Plan;
}

/** What the tests report while they run. */
export type Event =
  /** A test begins, with a mutant or without. If the process stalls, it is this one that hangs. */
  | { event: "begins"; test: string; mutant: number | null; limitMs: number }
  | { event: "passed"; test: string; mutant: number }
  /** The test failed twice with the mutant, and passed without it in between. */
  | { event: "failed"; test: string; mutant: number; failure: string }
  /** The test failed with the mutant, and then failed without it too. The process must be started again. */
  | { event: "broken"; test: string; mutant: number; failure: string };

export interface ProfiledRun {
  test: string;
  /** Each run's duration in milliseconds. */
  milliseconds: number[];
  /** The first error of each run. Null if the run passed. */
  failures: (string | null)[];
  /** The ids of the mutants that the second run reached. */
  reached: number[];
}

/** The end of a task. */
export interface Finished {
  event: "finished";
  /** The first error. Undefined if all tests passed. */
  failure?: string;
  milliseconds: number;
  /** For a profile: the runs of each test. */
  runs: ProfiledRun[];
  /** For a profile: the ids of the mutants that were reached while modules were loaded, between tests, or by a first run only. */
  outside: number[];
}

declare module "vitest" {
  interface ProvidedContext {
    plan: Plan;
    /** The address that takes events as a JSON array. */
    eventsUrl: string;
  }
}

/** The first mutant id of each mutated source. */
export type FirstIds = Record<string, number>;

/** How long a hook, or a test without a limit of its own, may take, in milliseconds. */
const TIMEOUT_MS = 60_000;

const firstIds = JSON.parse(process.argv[2] ?? "{}") as FirstIds;

const [unit] = config.test?.projects ?? [];
if (typeof unit !== "object" || !("plugins" in unit)) throw new Error("vitest.config.ts has no unit project.");

const eventsUrl = await listen();
const vitest = await createVitest(
  "test",
  {
    ...unit.test,
    config: false,
    watch: false,
    reporters: [{}],
    onConsoleLog: () => false,
    // The cache on disk does not tell mutated modules from others, so other runs would load them.
    fsModuleCache: false,
    testTimeout: TIMEOUT_MS,
    hookTimeout: TIMEOUT_MS,
    maxWorkers: 1,
    provide: { plan: { kind: "profile" }, eventsUrl },
    setupFiles: ["scripts/mutation/setup.ts", ...[unit.test?.setupFiles ?? []].flat()],
  },
  { define: unit.define ?? {}, plugins: [...(unit.plugins ?? []), mutation()] },
);

process.on("message", (task: Task) => {
  void run(task).then((finished) => process.send?.(finished));
});
process.on("disconnect", () => process.exit());
process.send?.("ready");

/** Passes events on. Vitest's own reports are delayed, and a test that never yields would hold them back. */
async function listen(): Promise<string> {
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (part) => (text += part));
    request.on("end", () => {
      for (const event of JSON.parse(text) as Event[]) process.send?.(event);
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Returns a Vite plugin that builds the mutants into the sources when they are loaded. */
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

async function run({ file, tests, plan }: Task): Promise<Finished> {
  const began = Date.now();
  vitest.state.filesMap.clear();
  vitest.state.errorsSet.clear();
  vitest.provide("plan", plan);
  const project = vitest.getRootProject();
  // If one mutant is on for the whole run, the first failure says enough.
  project.config.bail = vitest.config.bail = plan.kind === "from start" ? 1 : 0;
  const specification = project.createSpecification(file, tests.length === 0 ? undefined : { testIds: tests });
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications([specification]);
  const [module] = testModules;
  const milliseconds = Date.now() - began;
  const failure = failureOf(module, unhandledErrors);
  const { reached = {} } = (module?.meta() ?? {}) as { reached?: Record<string, number[]> };
  const runs = plan.kind === "profile" ? runsOf(module, reached) : [];
  const outside = reached["outside"] ?? [];
  return { event: "finished", milliseconds, runs, outside, ...(failure === undefined ? {} : { failure }) };
}

function runsOf(module: TestModule | undefined, reached: Record<string, number[]>): ProfiledRun[] {
  const ran = [...(module?.children.allTests() ?? [])].filter((test) => test.result().state !== "skipped");
  return ran.map((test) => ({
    test: test.id,
    milliseconds: test.attempts().map(({ duration }) => duration),
    failures: test.attempts().map(({ state, errors = [] }) => (state === "failed" ? firstLine(errors) : null)),
    reached: reached[test.id] ?? [],
  }));
}

function failureOf(module: TestModule | undefined, unhandled: readonly unknown[]): string | undefined {
  const failed = module?.children.allTests("failed").next().value;
  if (failed) return `${failed.fullName}: ${firstLine(failed.result().errors ?? [])}`;
  const errors = [...(module?.errors() ?? []), ...unhandled] as { message?: string }[];
  return module !== undefined && errors.length === 0 ? undefined : firstLine(errors);
}

function firstLine([error]: readonly { message?: string }[]): string {
  return (error?.message ?? "the file did not run").split("\n", 1).join("");
}
