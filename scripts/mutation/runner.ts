/**
 * A process that keeps Vitest running and runs one test file at a time with one mutant on. scripts/mutate.ts starts it with the
 * ids of the mutants to build in, sends it tasks, and receives an outcome for each. It kills the process if a test hangs.
 */
import { relative } from "node:path";
import { createVitest, type TestModule } from "vitest/node";
import config from "../../vitest.config.ts";
import { mutantsIn, withMutants } from "./mutants.ts";

/** A test file to run. */
export interface Task {
  file: string;
  /** The ids of the tests to run. By default all tests of the file. */
  tests?: string[];
  /** The id of the mutant to turn on. With null, no mutant is on and the reached ones are recorded. */
  mutant: number | null;
}

export interface Outcome {
  isPassed: boolean;
  /** How long each test took, in milliseconds, by its id. */
  durations: Record<string, number>;
  /** If no mutant was on: the ids of the mutants that each test reached, and of those reached `outside` of tests. */
  reached: Record<string, number[]>;
  /** The failed test and its error. Undefined if all tests passed. */
  failure?: string;
  milliseconds: number;
}

declare module "vitest" {
  interface ProvidedContext {
    mutant: number | null;
  }
}

/** The first mutant id of each mutated source. */
export type FirstIds = Record<string, number>;

const firstIds = JSON.parse(process.argv[2] ?? "{}") as FirstIds;

const [unit] = config.test?.projects ?? [];
if (typeof unit !== "object" || !("plugins" in unit)) throw new Error("vitest.config.ts has no unit project.");

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
    bail: 1,
    maxWorkers: 1,
    provide: { mutant: null },
    setupFiles: ["scripts/mutation/setup.ts", ...[unit.test?.setupFiles ?? []].flat()],
  },
  { define: unit.define ?? {}, plugins: [...(unit.plugins ?? []), mutation()] },
);

process.on("message", (task: Task) => {
  void run(task).then((outcome) => process.send?.(outcome));
});
process.on("disconnect", () => process.exit());
process.send?.("ready");

/** Returns a Vite plugin that builds the mutants into the sources when they are loaded. */
function mutation() {
  return {
    name: "mutation",
    enforce: "pre" as const,
    transform(code: string, id: string) {
      const file = relative(process.cwd(), id);
      const firstId = firstIds[file];
      if (firstId === undefined) return;
      return {
        code: withMutants(code, mutantsIn(file, code, firstId).edits, firstId, "globalThis.isMutant"),
        map: null,
      };
    },
  };
}

async function run({ file, tests, mutant }: Task): Promise<Outcome> {
  const began = Date.now();
  vitest.state.filesMap.clear();
  vitest.state.errorsSet.clear();
  vitest.provide("mutant", mutant);
  const specification = vitest.getRootProject().createSpecification(file, tests && { testIds: tests });
  const { testModules, unhandledErrors } = await vitest.runTestSpecifications([specification]);
  const [module] = testModules;
  const isPassed = module?.ok() === true && unhandledErrors.length === 0;
  const { reached = {} } = (module?.meta() ?? {}) as Partial<Outcome>;
  const durations = Object.fromEntries(
    [...(module?.children.allTests() ?? [])].map((test) => [test.id, test.diagnostic()?.duration ?? 0]),
  );
  const outcome = { isPassed, durations, reached, milliseconds: Date.now() - began };
  return isPassed ? outcome : { ...outcome, failure: failureOf(module, unhandledErrors) };
}

function failureOf(module: TestModule | undefined, unhandled: readonly unknown[]): string {
  const failed = module?.children.allTests("failed").next().value;
  const result = failed?.result();
  const [error] = [...(result?.errors ?? []), ...(module?.errors() ?? []), ...unhandled] as { message?: string }[];
  const text = (error?.message ?? "the file did not run").split("\n", 1).join("");
  return failed === undefined ? text : `${failed.fullName}: ${text}`;
}
