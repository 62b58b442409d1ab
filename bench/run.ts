import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildWorkers } from "./build.ts";
import type { Job, Outcome } from "./load/main.ts";
import { PEERS } from "./peers.ts";
import { LOAD_CORE, Server } from "./server.ts";
import { WORKLOADS } from "./workloads.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    peers: { type: "string", default: "" },
    workloads: { type: "string", default: "" },
  },
});
await buildWorkers();
const peers = PEERS.filter(({ name }) => values.peers === "" || values.peers.split(";").includes(name));
const workloads = Object.entries(WORKLOADS).filter(
  ([n]) => values.workloads === "" || values.workloads.split(";").includes(n),
);
for (let round = 0; round < Number(values.rounds); round++) {
  for (const [name, workload] of workloads) {
    for (const peer of peers) {
      if (workload.kind === "throughput" && workload.batch > 1 && peer.dialect === "nchan") continue;
      const server = await Server.start(peer);
      try {
        const outcome = await load({
          port: server.port,
          pid: server.pid,
          dialect: peer.dialect,
          workload,
          seconds: Number(values.seconds),
          warmUp: 1,
        });
        console.log(
          name,
          "|",
          peer.name,
          "|",
          Object.entries(outcome)
            .map(([k, v]) => `${k}: ${v.toFixed(2)}`)
            .join(", "),
        );
      } catch (error) {
        console.log(name, "|", peer.name, "| FAILED", String(error));
      } finally {
        await server.stop();
      }
    }
  }
}

function load(job: Job): Promise<Outcome> {
  const main = fileURLToPath(new URL("load/main.ts", import.meta.url));
  const started = spawn("taskset", ["-c", LOAD_CORE, "node", main, JSON.stringify(job)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  started.stdout.on("data", (text) => (output += String(text)));
  return new Promise((resolve, reject) =>
    started.once("exit", (code) =>
      code === 0 ? resolve(JSON.parse(output) as Outcome) : reject(new Error(`load ended with ${code}`)),
    ),
  );
}
