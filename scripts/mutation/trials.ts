/** Decides which tests try which mutants. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Mutant } from "./mutants.ts";
import type { ProfiledTest } from "./profile.ts";

export type Status = "killed" | "timeout" | "survived" | "not covered" | "explained";

/** How many tests try a mutant, in one round after the other. Each round starts every test file that it needs once. */
export const TESTS_PER_ROUND = [10, Infinity];
/** The tests of one mutant take at most so long together without a mutant, in milliseconds. */
const BUDGET_MS = 60_000;
/** A run of a test takes at least so long with what is around it, in milliseconds. */
const OVERHEAD_MS = 20;
/** A test that reaches so many mutants is assumed to detect every second one. */
const SPECIFIC_REACH = 40;
/** How much that assumption counts, in trials. */
const PRIOR_TRIALS = 2;

/** A mutant that no test has detected yet. */
export interface Candidate {
  mutant: Mutant;
  /** The tests that may detect it and have not tried it. */
  tests: Set<ProfiledTest>;
  /** How long the tests that tried it take, in milliseconds. */
  spentMs: number;
  /** The tests that broke their runtime, or made it hang, with this mutant. */
  suspects: Set<string>;
}

/** Which tests detected mutants of which sources. */
export class Scores {
  readonly #scores = new Map<string, { tries: number; hits: number }>();

  note({ id }: ProfiledTest, { file }: Mutant, isHit: boolean): void {
    const score = this.#scores.get(`${id} ${file}`) ?? { tries: 0, hits: 0 };
    this.#scores.set(`${id} ${file}`, score);
    score.tries += 1;
    score.hits += Number(isHit);
  }

  /** Returns the tests that are most likely to detect a mutant, in relation to the time that they take. */
  best({ mutant, tests, spentMs }: Candidate, count: number): ProfiledTest[] {
    const valued = [...tests].map((test) => ({ test, value: this.#chance(test, mutant) / costMs(test) }));
    valued.sort((a, b) => b.value - a.value);
    let milliseconds = spentMs;
    const best = valued.slice(0, count).map(({ test }) => test);
    return best.filter((test) => {
      // The first one always runs, however long it takes.
      const fits = milliseconds === 0 || milliseconds + costMs(test) <= BUDGET_MS;
      if (fits) milliseconds += costMs(test);
      return fits;
    });
  }

  #chance({ id, reached }: ProfiledTest, { file }: Mutant): number {
    const prior = SPECIFIC_REACH / (SPECIFIC_REACH + reached.size);
    const { tries, hits } = this.#scores.get(`${id} ${file}`) ?? { tries: 0, hits: 0 };
    return (PRIOR_TRIALS * prior + hits) / (PRIOR_TRIALS + tries);
  }
}

export function costMs({ milliseconds }: ProfiledTest): number {
  return milliseconds + OVERHEAD_MS;
}

/** Finds the tests that may detect a mutant. */
export class Reach {
  readonly #tests: readonly ProfiledTest[];
  /** The sources that each test reaches. */
  readonly #sources: Map<ProfiledTest, Set<string>>;
  /** The sources that import each source. */
  readonly #importers = new Map<string, Set<string>>();

  constructor(tests: readonly ProfiledTest[], mutants: readonly Mutant[]) {
    this.#tests = tests;
    this.#sources = new Map(
      tests.map((test) => [test, new Set([...test.reached].flatMap((id) => mutants[id]?.file ?? []))]),
    );
    for (const file of new Set(mutants.map((mutant) => mutant.file))) {
      for (const [, path = ""] of readFileSync(file, "utf8").matchAll(/ from "(\.[^"]+)";/g)) {
        const imported = join(file, "..", path);
        this.#importers.set(imported, (this.#importers.get(imported) ?? new Set()).add(file));
      }
    }
  }

  /** Returns the tests that reach a mutant. */
  of({ id }: Mutant): ProfiledTest[] {
    return this.#tests.filter(({ reached }) => reached.has(id));
  }

  /**
   * Returns the tests that may depend on code that ran while its module was loaded: those that reach other code of the module, or
   * else of the modules that import it.
   */
  ofModule({ file }: Mutant): ProfiledTest[] {
    const modules = new Set([file]);
    for (const module of modules) {
      const tests = this.#tests.filter((test) => [...modules].some((path) => this.#sources.get(test)?.has(path)));
      if (tests.length > 0) return tests;
      for (const importer of this.#importers.get(module) ?? []) modules.add(importer);
    }
    return [];
  }
}
