/**
 * `npm run simulate`: runs the fault simulation (docs/guarantees.md) over many seeds, on all cores. Each chunk of seeds has a
 * process of its own. If a schedule hangs or fails, the rest of its chunk runs in a new process. Ends with exit code 1 if a
 * schedule failed.
 *
 * Usage: `npm run simulate -- 20001-20500`. Without an argument it runs the seeds 1 to 20,000.
 */
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { argv, exit } from "node:process";

/** Seeds from the first to the last, both included. */
interface Range {
  first: number;
  last: number;
}

const ALL: Range = { first: 1, last: 20_000 };
/** A new process takes several seconds to start. */
const MAX_CHUNK_SEEDS = 200;
/** After how many failures no new chunk starts. */
const MAX_FAILURES = 50;
/** When a process counts as hanging, per schedule, in milliseconds. On an idle machine a schedule takes less than a second. */
const MAX_SCHEDULE_MS = 20_000;
const MIN_CHUNK_MS = 900_000;

const all = argv[2] === undefined ? ALL : rangeOf(argv[2]);
const chunks = chunksOf(all);
const failures: string[] = [];
const startedAt = Date.now();
/** Each ends a process that is under way, with all processes that it has started. */
const running = new Set<() => void>();
let done = 0;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    for (const kill of running) kill();
    exit(1);
  });
}

await Promise.all(Array.from({ length: availableParallelism() }, work));
console.log(`${done} of ${sizeOf(all)} schedules have run, in ${seconds(startedAt)} s. ${failures.length} failed.`);
for (const failure of failures) console.log(`\n${failure}`);
exit(failures.length > 0 || done < sizeOf(all) ? 1 : 0);

/** Runs chunks one after another until none is left. */
async function work(): Promise<void> {
  for (;;) {
    const chunk = failures.length < MAX_FAILURES ? chunks.shift() : undefined;
    if (!chunk) return;
    await runChunk(chunk);
  }
}

async function runChunk(chunk: Range): Promise<void> {
  const start = Date.now();
  const { output, isPassed } = await simulate(chunk);
  const reports = reportsIn(output);
  const left = leftIn(output);
  if (isPassed || reports.length > 0) {
    for (const report of reports) noteFailure(report);
    if (left) chunks.unshift(left);
    done += sizeOf(chunk) - (left ? sizeOf(left) : 0);
  } else if (sizeOf(chunk) > 1) {
    // The process ended without a report, or it was killed: find the schedule that causes it.
    chunks.unshift(...halvesOf(chunk));
  } else {
    noteFailure(`seed ${chunk.first} ended without a report:\n${output}`);
    done += 1;
  }
  const state = `${done} of ${sizeOf(all)} schedules have run, ${failures.length} failed`;
  console.log(`${textOf(chunk)} took ${seconds(start)} s: ${state}, ${seconds(startedAt)} s.`);
}

/** Prints a failure at once, and again at the end. */
function noteFailure(report: string): void {
  failures.push(report);
  console.log(`\n${report}\n`);
}

/** Runs the simulation's test in a process of its own. Kills the process if it hangs. */
function simulate(chunk: Range): Promise<{ output: string; isPassed: boolean }> {
  const { promise, resolve } = Promise.withResolvers<{ output: string; isPassed: boolean }>();
  const env = { ...process.env, SEED: textOf(chunk), NO_COLOR: "1" };
  const child = spawn("vitest", ["run", "--project", "unit", "simulation"], { env, detached: true });
  const kill = () => {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  };
  const timer = setTimeout(kill, Math.max(MIN_CHUNK_MS, sizeOf(chunk) * MAX_SCHEDULE_MS));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (output += data.toString()));
  running.add(kill);
  child.on("close", (code) => {
    clearTimeout(timer);
    running.delete(kill);
    resolve({ output, isPassed: code === 0 });
  });
  return promise;
}

/** Returns the reports of failed schedules in the test's output. */
function reportsIn(output: string): string[] {
  const [, reports = ""] = /FAILED SCHEDULES$(.*)^END OF FAILED SCHEDULES$/ms.exec(output) ?? [];
  return reports.split(/^---$/m).flatMap((report) => report.trim() || []);
}

/** Returns the seeds that did not run, by the test's output. */
function leftIn(output: string): Range | undefined {
  const [, text] = /^not run: SEED=(\d+-\d+)$/m.exec(output) ?? [];
  return text === undefined ? undefined : rangeOf(text);
}

function chunksOf({ first, last }: Range): Range[] {
  const count = Math.ceil((last - first + 1) / MAX_CHUNK_SEEDS);
  return Array.from({ length: count }, (_, index) => {
    const from = first + index * MAX_CHUNK_SEEDS;
    return { first: from, last: Math.min(from + MAX_CHUNK_SEEDS - 1, last) };
  });
}

function halvesOf({ first, last }: Range): Range[] {
  const middle = Math.floor((first + last) / 2);
  return [
    { first, last: middle },
    { first: middle + 1, last },
  ];
}

function rangeOf(text: string): Range {
  const [first = NaN, last = first] = text.split("-").map(Number);
  if (first >= 1 && last >= first) return { first, last };
  throw new Error(`Seeds are one number or two, such as 7 or 1-20000; got ${text}.`);
}

function textOf({ first, last }: Range): string {
  return `${first}-${last}`;
}

function sizeOf({ first, last }: Range): number {
  return last - first + 1;
}

function seconds(since: number): number {
  return Math.round((Date.now() - since) / 1_000);
}
