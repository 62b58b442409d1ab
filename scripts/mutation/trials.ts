/**
 * Decides which test is tried on which mutant next. Starting a Workers runtime takes longer than most tests do, so one run tries
 * many mutants: each of its tests runs with a mutant of its own.
 */
import type { Mutant } from "./mutants.ts";

/** A test, and how it runs without a mutant. */
export interface ProfiledTest {
  id: string;
  file: string;
  milliseconds: number;
  /** The ids of the mutants that it reaches. */
  reached: ReadonlySet<number>;
}

export type Status = "killed" | "timeout" | "survived" | "not covered" | "explained";

export interface Verdict {
  status: Status;
  /** The file of the test that failed. */
  by?: string;
  failure?: string;
}

/** The mutant that each test of a run has; null for a control, which shows how often tests fail without a mutant. */
export type Batch = Map<ProfiledTest, Mutant | null>;

/** A mutant that survives so many tests has survived. They are the tests most likely to notice it. */
const MAX_TRIALS = 40;
/** One failure may have another cause, such as the mutant of the test before. */
const FAILURES_NEEDED = 2;
/** How long the tests of a batch may take together, in milliseconds: much longer than the start of a run. */
const BATCH_MS = 20_000;
/** Every so many trials a test runs without a mutant. */
const TRIALS_PER_CONTROL = 20;
/** A test that reaches so many mutants notices every second one, as a first guess. */
const SPECIFIC_REACH = 40;
/** How much that guess counts, in trials. */
const PRIOR_TRIALS = 2;
/** How much less likely a mutant is to be noticed after each test that did not notice it. */
const DISCOURAGEMENT = 0.9;
/** A test takes at least so long, in milliseconds, with what is around it. */
const OVERHEAD_MS = 20;

/** What is known about a mutant while tests are tried on it. */
interface Candidate {
  mutant: Mutant;
  tests: Set<ProfiledTest>;
  tried: number;
  /** The test that failed, and how often. */
  suspect?: ProfiledTest;
  failures: number;
  isRunning: boolean;
}

/** How often a test was tried on the mutants of a source, and how often it failed. */
interface Score {
  tries: number;
  hits: number;
}

/** Tries tests on mutants until each mutant has a verdict. */
export class Trials {
  readonly controls = { run: 0, failed: 0 };
  readonly #tests: readonly ProfiledTest[];
  readonly #candidates = new Map<number, Candidate>();
  readonly #byTest = new Map<ProfiledTest, Set<Candidate>>();
  readonly #scores = new Map<string, Score>();
  readonly #decided: (mutant: Mutant, verdict: Verdict) => void;
  #untilControl = TRIALS_PER_CONTROL;

  /**
   * @param mutants Each with the tests that may notice it.
   * @param decided Is called with the verdict on each mutant.
   */
  constructor(
    tests: readonly ProfiledTest[],
    mutants: readonly { mutant: Mutant; tests: readonly ProfiledTest[] }[],
    decided: (mutant: Mutant, verdict: Verdict) => void,
  ) {
    this.#tests = tests;
    this.#decided = decided;
    for (const test of tests) this.#byTest.set(test, new Set());
    for (const { mutant, tests: own } of mutants) {
      const candidate = { mutant, tests: new Set(own), tried: 0, failures: 0, isRunning: false };
      this.#candidates.set(mutant.id, candidate);
      for (const test of own) this.#byTest.get(test)?.add(candidate);
    }
  }

  get left(): number {
    return this.#candidates.size;
  }

  /** Returns the most promising tests and their mutants; an empty batch if all that is left is running. */
  next(): Batch {
    const choices = this.#choices().toSorted((a, b) => b.value - a.value);
    const batch: Batch = new Map();
    let milliseconds = 0;
    for (const { test, candidate } of choices) {
      const cost = test.milliseconds + OVERHEAD_MS;
      if (batch.size > 0 && milliseconds + cost > BATCH_MS) continue;
      milliseconds += cost;
      this.#untilControl -= 1;
      const isControl = this.#untilControl === 0;
      if (isControl) this.#untilControl = TRIALS_PER_CONTROL;
      else candidate.isRunning = true;
      batch.set(test, isControl ? null : candidate.mutant);
    }
    return batch;
  }

  /** Takes the results of a batch: for each test that ended its failure, or undefined if it passed. */
  finish(batch: Batch, results: ReadonlyMap<string, string | undefined>): void {
    for (const [test, mutant] of batch) {
      const hasEnded = results.has(test.id);
      const failure = results.get(test.id);
      if (mutant === null) {
        this.controls.run += Number(hasEnded);
        this.controls.failed += Number(failure !== undefined);
        continue;
      }
      const candidate = this.#candidates.get(mutant.id);
      if (!candidate) continue;
      candidate.isRunning = false;
      if (hasEnded) this.#learn(candidate, test, failure);
    }
  }

  /** Ends the trials of a mutant. */
  decide(mutant: Mutant, verdict: Verdict): void {
    const candidate = this.#candidates.get(mutant.id);
    for (const test of candidate?.tests ?? []) this.#byTest.get(test)?.delete(candidate as Candidate);
    this.#candidates.delete(mutant.id);
    this.#decided(mutant, verdict);
  }

  #learn(candidate: Candidate, test: ProfiledTest, failure: string | undefined): void {
    const { mutant, tests } = candidate;
    if (failure !== undefined) {
      candidate.suspect = test;
      candidate.failures += 1;
      if (candidate.failures < FAILURES_NEEDED) return;
      this.#score(test, mutant).hits += 1;
      this.#score(test, mutant).tries += 1;
      return this.decide(mutant, { status: "killed", by: test.file, failure });
    }
    delete candidate.suspect;
    candidate.failures = 0;
    candidate.tried += 1;
    tests.delete(test);
    this.#byTest.get(test)?.delete(candidate);
    this.#score(test, mutant).tries += 1;
    if (candidate.tried >= MAX_TRIALS || tests.size === 0) this.decide(mutant, { status: "survived" });
  }

  #score(test: ProfiledTest, { file }: Mutant): Score {
    const key = `${test.id} ${file}`;
    const score = this.#scores.get(key) ?? { tries: 0, hits: 0 };
    this.#scores.set(key, score);
    return score;
  }

  /** Returns for each test the mutant that it is most likely to notice. The tests with the fewest mutants choose first. */
  #choices(): { test: ProfiledTest; candidate: Candidate; value: number }[] {
    const taken = new Set<Candidate>();
    const choices = [];
    const tests = this.#tests.toSorted((a, b) => a.reached.size - b.reached.size);
    for (const test of tests) {
      let best: { candidate: Candidate; chance: number } | undefined;
      for (const candidate of this.#byTest.get(test) ?? []) {
        if (candidate.isRunning || taken.has(candidate)) continue;
        const chance = this.#chance(test, candidate);
        if (chance > (best?.chance ?? 0)) best = { candidate, chance };
      }
      if (!best) continue;
      taken.add(best.candidate);
      const value = best.chance / (test.milliseconds + OVERHEAD_MS);
      choices.push({ test, candidate: best.candidate, value });
    }
    return choices;
  }

  /** Returns how likely a test is to notice a mutant, as far as one can guess. */
  #chance(test: ProfiledTest, { mutant, tried, suspect }: Candidate): number {
    if (suspect) return suspect === test ? 10 : 0;
    const prior = SPECIFIC_REACH / (SPECIFIC_REACH + test.reached.size);
    const { hits, tries } = this.#scores.get(`${test.id} ${mutant.file}`) ?? { hits: 0, tries: 0 };
    return ((PRIOR_TRIALS * prior + hits) / (PRIOR_TRIALS + tries)) * DISCOURAGEMENT ** tried;
  }
}
