/** The processes that run test files (runner.ts). */
import { type ChildProcess, fork } from "node:child_process";
import { afterTicks } from "./patience.ts";
import type { Event, Finished, FirstIds, Task } from "./runner.ts";

const START_TIMEOUT_MS = 300_000;
/** How long a process may report nothing before its first test begins, and after the last one, in milliseconds. */
const QUIET_MS = 240_000;
/** How much longer than a test's limit nothing may be reported while the test runs. Hooks have no limit of their own. */
const STALL_GRACE_MS = 15_000;

/** A process that runs test files. It is started again after a test hangs or breaks its runtime. */
export class RunnerProcess {
  readonly #firstIds: FirstIds;
  #child: ChildProcess | undefined;

  constructor(firstIds: FirstIds) {
    this.#firstIds = firstIds;
  }

  /**
   * Runs tests. Throws if the process does not start.
   *
   * @param onEvent Takes each event. If it returns true, the process is stopped.
   * @returns What the task ended with; `stopped`, `timeout` or `exit` if the process ended.
   */
  async run(task: Task, onEvent: (event: Event) => boolean): Promise<Finished | "stopped" | "timeout" | "exit"> {
    const child = (this.#child ??= await this.#start());
    child.send(task);
    const end = await new Promise<Finished | "stopped" | "timeout" | "exit">((resolve) => {
      const onExit = () => finish("exit");
      const stall = () => finish("timeout");
      let cancel = afterTicks(QUIET_MS, stall);
      const onMessage = (message: unknown) => {
        const event = message as Event | Finished;
        if (event.event === "finished") return finish(event);
        if (onEvent(event)) return finish("stopped");
        cancel();
        cancel = afterTicks(event.event === "begins" ? event.limitMs + STALL_GRACE_MS : QUIET_MS, stall);
      };
      function finish(value: Finished | "stopped" | "timeout" | "exit"): void {
        cancel();
        child.off("message", onMessage).off("exit", onExit);
        resolve(value);
      }
      child.on("message", onMessage).once("exit", onExit);
    });
    if (typeof end === "string") this.stop();
    return end;
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
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    await new Promise<void>((resolve, reject) => {
      const cancel = afterTicks(START_TIMEOUT_MS, () => reject(new Error("Vitest does not start.")));
      child.once("exit", () => reject(new Error("Vitest ended while it started.")));
      child.once("message", () => {
        cancel();
        resolve();
      });
    });
    return child;
  }
}
