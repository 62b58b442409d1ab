/**
 * The benchmark: `npm run bench`. Starts each server on one core and the load generator on another. It measures all servers in
 * each round, so that other activity on the machine affects all of them equally. Prints a table of medians, and writes
 * results.json and chart.svg.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { buildWorkers } from "./build.ts";
import { chart } from "./chart.ts";
import { costPerMillion } from "./cost.ts";
import { countFsyncs } from "./fsyncs.ts";
import type { Job, Outcome } from "./load/main.ts";
import { COUNTED, DIALECTS, NCHAN_MODULE, type Peer, PEERS } from "./peers.ts";
import { type Results, table } from "./report.ts";
import { LOAD_CORE, Server } from "./server.ts";
import { type Workload, WORKLOADS } from "./workloads.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    /** Parts of peers' names, comma-separated. By default all peers. */
    peers: { type: "string", default: "" },
    /** Names of workloads, comma-separated. By default all workloads. */
    workloads: { type: "string", default: "" },
    out: { type: "string", default: import.meta.dirname },
    /** Adds to the existing results, to run the benchmark in parts. */
    add: { type: "boolean", default: false },
  },
});

requireTools();
await buildWorkers();
const results: Results = {
  date: new Date().toISOString().slice(0, 10),
  machine: `${cpus()[0]?.model.trim()}, ${cpus().length} cores; server on one, load on another`,
  runtime: `Node ${process.versions.node}, ${execFileSync("workerd", ["--version"], { encoding: "utf8" }).trim()}`,
  ...(values.add
    ? (JSON.parse(readFileSync(`${values.out}/results.json`, "utf8")) as Pick<Results, "figures" | "failures">)
    : { figures: {}, failures: [] }),
};
const peers = PEERS.filter(({ name }) => isChosen(values.peers, (part) => name.includes(part))).filter(isInstalled);
const workloads = Object.entries(WORKLOADS).filter(([name]) => isChosen(values.workloads, (part) => name === part));

for (let round = 1; round <= Number(values.rounds); round++) {
  for (const [name, workload] of workloads) {
    for (const peer of peers.filter((candidate) => can(candidate, workload))) await run(round, name, workload, peer);
  }
}
if (isChosen(values.workloads, (part) => part === "fsyncs")) {
  for (const peer of peers.filter(({ durable }) => durable)) {
    await attempt("fsyncs", peer, async (server) => ({ "fsyncs a message": await countFsyncs(server, peer.dialect) }));
  }
}
if (isChosen(values.workloads, (part) => part === "cost")) await attempt("cost", COUNTED, costPerMillion);

console.log(table(results, PEERS));
writeFileSync(`${values.out}/results.json`, `${JSON.stringify(results, null, 2)}\n`);
writeFileSync(`${values.out}/chart.svg`, chart(results));

async function run(round: number, name: string, workload: Workload, peer: Peer): Promise<void> {
  console.error(`round ${round}: ${name}, ${peer.name}`);
  await attempt(name, peer, ({ port, pid }) =>
    load({ port, pid, dialect: peer.dialect, workload, seconds: Number(values.seconds), warmUp: 1 }),
  );
}

/** Starts a peer's server, measures it, and stores the figures. A failure is reported and adds no figures. */
async function attempt(name: string, peer: Peer, measure: (server: Server) => Promise<Outcome>): Promise<void> {
  const server = await Server.start(peer);
  try {
    const figures = ((results.figures[name] ??= {})[peer.name] ??= {});
    for (const [figure, value] of Object.entries(await measure(server))) (figures[figure] ??= []).push(value);
  } catch (error) {
    results.failures.push(`${name}, ${peer.name}: ${(error as Error).message}`);
  } finally {
    await server.stop();
  }
}

/** Runs the load generator in its own process, on its own core. */
function load(job: Job): Promise<Outcome> {
  const main = join(import.meta.dirname, "load/main.ts");
  const started = spawn("taskset", ["-c", LOAD_CORE, "node", main, JSON.stringify(job)], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 180_000,
  });
  let output = "";
  started.stdout.on("data", (text) => (output += String(text)));
  return new Promise((resolve, reject) => {
    started.once("exit", (code) => {
      if (code === 0) resolve(JSON.parse(output) as Outcome);
      else reject(new Error(`The load generator exited with code ${code}.`));
    });
  });
}

/** Returns whether a peer supports a workload. Not every server supports batches or publishing over sockets. */
function can({ dialect }: Peer, workload: Workload): boolean {
  if (workload.kind === "channels") return dialect !== "single";
  if (workload.kind === "paced" && workload.over === "acks") return "ackPublish" in DIALECTS[dialect];
  if (workload.kind !== "throughput") return true;
  if (workload.over === "acks") return "ackPublish" in DIALECTS[dialect];
  if (workload.over === "sockets") return "socketPublish" in DIALECTS[dialect];
  return DIALECTS[dialect].batches || workload.batch === 1;
}

function isChosen(list: string, matches: (part: string) => boolean): boolean {
  return list === "" || list.split(",").some((part) => matches(part.trim()));
}

/** Returns whether a peer is installed. Nginx with Nchan is a package of the system. */
function isInstalled({ dialect }: Peer): boolean {
  return dialect !== "nchan" || existsSync(NCHAN_MODULE);
}

function requireTools(): void {
  if (spawnSync("taskset", ["--version"]).status === 0 && existsSync("/proc/self/schedstat") && cpus().length > 1)
    return;
  console.error("The benchmark needs Linux, with /proc and taskset, and two cores.");
  process.exit(1);
}
