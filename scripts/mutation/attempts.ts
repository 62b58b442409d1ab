/** Tries one mutant after the other with one test, and confirms each failure. */
import type { Trial } from "./runner.ts";

/** What is known about a trial after a run of the test. */
export type TrialEvent =
  | { event: "passed"; mutant: number }
  | { event: "failed"; mutant: number; failure: string }
  | { event: "broken"; mutant: number; failure: string };

/**
 * The trials of one test. A failure may have another cause than the mutant: a busy machine, or what an earlier mutant left behind.
 * So a test that fails runs without the mutant, where it must pass, and then with it again, where it must fail.
 */
export class TestTrials {
  readonly #trials: Trial[];
  readonly #detected: Set<number>;
  #trial: Trial | undefined;
  #phase: "first" | "without" | "again" = "first";
  #failure = "";

  /** @param detected The mutants that need no trial any more. It adds those that this test detects. */
  constructor(trials: readonly Trial[], detected: Set<number>) {
    this.#trials = [...trials];
    this.#detected = detected;
  }

  /** Returns the mutant of the next run; null for a run without one. Returns undefined if nothing is left to try. */
  next(): { mutant: number | null } | undefined {
    if (this.#phase === "without") return { mutant: null };
    if (this.#phase === "first") this.#trial = this.#nextTrial();
    return this.#trial && { mutant: this.#trial.mutant };
  }

  /** Takes the error of a run, or null if it passed. Returns what that says about the mutant. */
  note(failure: string | null): TrialEvent[] {
    const trial = this.#trial;
    if (!trial) return [];
    const { mutant, isRepeated } = trial;
    if (this.#phase === "first" && failure !== null) {
      this.#phase = "without";
      this.#failure = failure;
      return [];
    }
    if (this.#phase === "without" && failure === null) {
      this.#phase = "again";
      return [];
    }
    const isBroken = this.#phase === "without";
    this.#phase = "first";
    if (failure === null) return [{ event: "passed", mutant }];
    if (isBroken && !isRepeated) return [{ event: "broken", mutant, failure: this.#failure }];
    this.#detected.add(mutant);
    const failed = { event: "failed" as const, mutant, failure: this.#failure };
    return isBroken ? [failed, { ...failed, event: "broken" }] : [failed];
  }

  #nextTrial(): Trial | undefined {
    let trial = this.#trials.shift();
    while (trial && this.#detected.has(trial.mutant)) trial = this.#trials.shift();
    return trial;
  }
}
