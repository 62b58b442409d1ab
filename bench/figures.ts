import { readdirSync, readFileSync } from "node:fs";

/** Reads Linux's statistics of a server: of its process and all descendants. */
export class Figures {
  readonly #root: number;

  constructor(root: number) {
    this.#root = root;
  }

  /** The CPU time used so far, in microseconds. The scheduler counts it in nanoseconds (proc_pid_schedstat). */
  cpu(): number {
    return this.#sum((pid) =>
      readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
        const stat = orGone(() => readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8"));
        return sum + Number(stat?.split(" ")[0] ?? 0) / 1000;
      }, 0),
    );
  }

  /** The server's memory in bytes: its proportional set size (proc_pid_smaps_rollup). */
  memory(): number {
    return this.#sum((pid) => {
      const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024;
    });
  }

  /** The process and its descendants. */
  processes(): number[] {
    const children = new Map<number, number[]>();
    for (const entry of readdirSync("/proc")) {
      const parent = /^\d+$/.test(entry) ? parentOf(Number(entry)) : undefined;
      if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
    }
    const all = [this.#root];
    for (const pid of all) all.push(...(children.get(pid) ?? []));
    return all;
  }

  #sum(read: (pid: number) => number): number {
    return this.processes().reduce((sum, pid) => sum + (orGone(() => read(pid)) ?? 0), 0);
  }
}

function parentOf(pid: number): number | undefined {
  const stat = orGone(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  // The name in parentheses may contain any characters. The state and the parent follow it.
  return stat === undefined ? undefined : Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

/** Returns an empty text if the process has ended meanwhile. */
function orGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
