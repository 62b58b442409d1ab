/**
 * Decides which test is tried on which mutant next. Starting a Workers runtime takes longer than most tests do, so one run tries
 * many mutants: each of its tests runs several times, each time with another mutant.
 */
import type { Mutant } from "./mutants.ts";

/** What an attempt fails with that takes longer than it may. */
export const TIMED_OUT = "took longer than its limit";

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

export type Status = "killed" | "timeout" | "survived" | "not covered" | "explained";

export interface Verdict {
  status: Status;
  /** The file of the test that failed. */
  by?: string;
  failure?: string;
}

/** One attempt of a test to notice a mutant. */
export interface Trial {
  /** The mutant; null for a control, which shows how often tests fail without one. */
  mutant: Mutant | null;
  /** Whether the test has failed with the mutant before. */
  isConfirmation: boolean;
}

/** What the tests of one run try, one after the other. */
export type Batch = Map<ProfiledTest, Trial[]>;

/** A mutant that survives so many tests has survived. They are the tests most likely to notice it. */
const MAX_TRIALS = 40;
/** One failure may have another cause, such as the mutant of the test before. */
const FAILURES_NEEDED = 2;
/** How long the tests of a batch may take together, in milliseconds: much longer than the start of a run. */
const BATCH_MS = 30_000;
/** How often a test runs in one batch. A test that waits for what a mutant prevents takes long each time. */
const MAX_ATTEMPTS = 12;
/** For so many tests that did not notice a mutant, a batch tries one more at once. */
const TRIALS_PER_PARALLEL = 3;
/** Every so many trials a test runs without a mutant. */
const TRIALS_PER_CONTROL = 20;
/** A test that reaches so many mutants notices every second one, as a first guess. */
const SPECIFIC_REACH = 40;
/** How much that guess counts, in trials. */
const PRIOR_TRIALS = 2;
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
  /** Those that come first are tried first. */
  readonly #candidates = new Map<number, Candidate>();
  readonly #scores = new Map<string, Score>();
  readonly #decided: (mutant: Mutant, verdict: Verdict) => void;
  #untilControl = TRIALS_PER_CONTROL;

  /**
   * @param mutants Each with the tests that may notice it.
   * @param decided Is called with the verdict on each mutant.
   */
  constructor(
    mutants: readonly { mutant: Mutant; tests: readonly ProfiledTest[] }[],
    decided: (mutant: Mutant, verdict: Verdict) => void,
  ) {
    this.#decided = decided;
    for (const { mutant, tests } of mutants) {
      this.#candidates.set(mutant.id, { mutant, tests: new Set(tests), tried: 0, failures: 0, isRunning: false });
    }
  }

  get left(): number {
    return this.#candidates.size;
  }

  /** Returns the most promising tests for the mutants that come first; an empty batch if all that is left is running. */
  next(): Batch {
    const batch: Batch = new Map();
    let milliseconds = 0;
    for (const candidate of this.#candidates.values()) {
      if (milliseconds >= BATCH_MS) break;
      if (candidate.isRunning) continue;
      for (const test of this.#nextTests(candidate, batch)) {
        milliseconds += test.milliseconds + OVERHEAD_MS;
        candidate.isRunning = true;
        this.#add(batch, test, { mutant: candidate.mutant, isConfirmation: candidate.suspect !== undefined });
      }
    }
    return batch;
  }

  /** Takes the results of a batch: for each test that ended, its failure in each attempt, or null where it passed. */
  finish(batch: Batch, results: ReadonlyMap<string, readonly (string | null | undefined)[]>): void {
    for (const [test, trials] of batch) {
      for (const [index, { mutant }] of trials.entries()) {
        const failure = results.get(test.id)?.[index];
        if (mutant === null) {
          this.controls.run += Number(failure !== undefined);
          this.controls.failed += Number(typeof failure === "string");
          continue;
        }
        const candidate = this.#candidates.get(mutant.id);
        if (!candidate) continue;
        candidate.isRunning = false;
        if (failure !== undefined) this.#learn(candidate, test, failure);
      }
    }
  }

  /** Ends the trials of a mutant. */
  decide(mutant: Mutant, verdict: Verdict): void {
    this.#candidates.delete(mutant.id);
    this.#decided(mutant, verdict);
  }

  #add(batch: Batch, test: ProfiledTest, trial: Trial): void {
    const trials = batch.get(test) ?? [];
    batch.set(test, trials);
    trials.push(trial);
    this.#untilControl -= 1;
    if (this.#untilControl > 0 || !test.isRepeatable) return;
    this.#untilControl = TRIALS_PER_CONTROL;
    trials.push({ mutant: null, isConfirmation: false });
  }

  #learn(candidate: Candidate, test: ProfiledTest, failure: string | null): void {
    const { mutant, tests } = candidate;
    const isSuspect = candidate.suspect === test;
    if (failure !== null) {
      candidate.failures = isSuspect ? candidate.failures + 1 : 1;
      candidate.suspect = test;
      if (candidate.failures < FAILURES_NEEDED) return;
      this.#score(test, mutant).hits += 1;
      this.#score(test, mutant).tries += 1;
      return this.decide(mutant, { status: isTimeout(failure) ? "timeout" : "killed", by: test.file, failure });
    }
    if (isSuspect) {
      delete candidate.suspect;
      candidate.failures = 0;
    }
    candidate.tried += 1;
    tests.delete(test);
    this.#score(test, mutant).tries += 1;
    if (candidate.suspect) return;
    if (candidate.tried >= MAX_TRIALS || tests.size === 0) this.decide(mutant, { status: "survived" });
  }

  #score(test: ProfiledTest, { file }: Mutant): Score {
    const key = `${test.id} ${file}`;
    const score = this.#scores.get(key) ?? { tries: 0, hits: 0 };
    this.#scores.set(key, score);
    return score;
  }

  /** Returns the tests that are most likely to notice a mutant soon: one, or more if some did not notice it. */
  #nextTests(candidate: Candidate, batch: Batch): ProfiledTest[] {
    const hasRoom = (test: ProfiledTest) => (batch.get(test)?.length ?? 0) < (test.isRepeatable ? MAX_ATTEMPTS : 1);
    if (candidate.suspect) return hasRoom(candidate.suspect) ? [candidate.suspect] : [];
    const count = 1 + Math.floor(candidate.tried / TRIALS_PER_PARALLEL);
    return [...candidate.tests]
      .filter(hasRoom)
      .map((test) => ({ test, value: this.#chance(test, candidate) / (test.milliseconds + OVERHEAD_MS) }))
      .toSorted((a, b) => b.value - a.value)
      .slice(0, count)
      .map(({ test }) => test);
  }

  /** Returns how likely a test is to notice a mutant, as far as one can guess. */
  #chance(test: ProfiledTest, { mutant }: Candidate): number {
    const prior = SPECIFIC_REACH / (SPECIFIC_REACH + test.reached.size);
    const { hits, tries } = this.#scores.get(`${test.id} ${mutant.file}`) ?? { hits: 0, tries: 0 };
    return (PRIOR_TRIALS * prior + hits) / (PRIOR_TRIALS + tries);
  }
}

/** Whether a test failed because it took too long. */
export function isTimeout(failure: string): boolean {
  return failure.endsWith(TIMED_OUT);
}
