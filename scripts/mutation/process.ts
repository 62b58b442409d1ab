/** The processes that run test files (runner.ts). */
import { type ChildProcess, fork } from "node:child_process";
import { afterTicks } from "./patience.ts";
import type { FirstIds, Outcome, Progress, Result, Task } from "./runner.ts";

const START_TIMEOUT_MS = 900_000;

/** What a task ended with, and the results of its tests until then. */
export interface Finished {
  /** `timeout` if it took too long, `exit` if the process ended. */
  outcome: Outcome | "timeout" | "exit";
  results: Result[];
  /** The attempt that began last. */
  last?: Progress | undefined;
}

/** A process that runs test files; started again after a test hangs. */
export class RunnerProcess {
  readonly #firstIds: FirstIds;
  #child: ChildProcess | undefined;

  constructor(firstIds: FirstIds) {
    this.#firstIds = firstIds;
  }

  /**
   * Runs tests. Throws if the process does not start.
   *
   * @param stallMs After how long without any progress it is stopped, in milliseconds.
   */
  async run(task: Task, stallMs: number): Promise<Finished> {
    const child = (this.#child ??= await this.#start());
    const results: Result[] = [];
    let last: Progress | undefined;
    child.send(task);
    const outcome = await answerOf<Outcome>(child, stallMs, (message) => {
      const report = message as Result | { progress: Progress } | Outcome;
      if ("progress" in report) last = report.progress;
      else if ("test" in report) results.push(report);
      return "reached" in report;
    });
    if (outcome === "timeout" || outcome === "exit") this.stop();
    return { outcome, results, last };
  }

  stop(): void {
    const pid = this.#child?.pid;
    this.#child = undefined;
    try {
      if (pid !== undefined) process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended already.
    }
  }

  async #start(): Promise<ChildProcess> {
    // In a process group of its own, so that the Workers runtime ends with it.
    const child = fork("scripts/mutation/runner.ts", [JSON.stringify(this.#firstIds)], {
      detached: true,
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    const answer = await answerOf<"ready">(child, START_TIMEOUT_MS, () => true);
    if (answer !== "ready") throw new Error("Vitest does not start.");
    return child;
  }
}

/** Returns the first message that is the last one; `exit` if the process ends, `timeout` if no message arrives in time. */
function answerOf<T>(
  child: ChildProcess,
  timeoutMs: number,
  isLast: (message: unknown) => boolean,
): Promise<T | "timeout" | "exit"> {
  return new Promise((resolve) => {
    const begin = () => afterTicks(timeoutMs, () => end("timeout"));
    let cancel = begin();
    const onExit = () => end("exit");
    const onMessage = (message: unknown) => {
      if (isLast(message)) return end(message as T);
      cancel();
      cancel = begin();
    };
    function end(answer: T | "timeout" | "exit"): void {
      cancel();
      child.off("message", onMessage).off("exit", onExit);
      resolve(answer);
    }
    child.on("message", onMessage).once("exit", onExit);
  });
}
