import { spawn, spawnSync } from "node:child_process";
import { atOnce } from "./load/at-once.ts";
import { Publisher } from "./load/publisher.ts";
import { messageText } from "./message.ts";
import { CHANNEL, DIALECTS, type Peer } from "./peers.ts";
import { Figures } from "./figures.ts";
import type { Server } from "./server.ts";

const MESSAGES = 2_000;
const PUBLISHERS = 64;

/** Returns the number of fsyncs per message with 64 publishers, counted by strace. Throws if strace is not installed. */
export async function countFsyncs({ port, pid }: Server, dialect: Peer["dialect"]): Promise<number> {
  if (spawnSync("strace", ["--version"]).error) throw new Error("strace is not installed");
  const processes = new Figures(pid).processes().flatMap((process) => ["-p", String(process)]);
  const publisher = new Publisher(port, DIALECTS[dialect], PUBLISHERS);
  await publisher.publish(CHANNEL, [messageText(0)]);
  const strace = spawn("strace", ["-f", "-e", "trace=fsync,fdatasync,sync_file_range", ...processes], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  const attached = new Promise<void>((resolve) => {
    strace.stderr.on("data", (text) => {
      output += String(text);
      if (output.includes("attached")) resolve();
    });
  });
  await attached;
  await atOnce(PUBLISHERS, MESSAGES, () => publisher.publish(CHANNEL, [messageText(0)]));
  strace.kill("SIGINT");
  await new Promise((resolve) => strace.once("exit", resolve));
  await publisher.close();
  return output.split("\n").filter((line) => /(?:fsync|fdatasync)\(/.test(line)).length / MESSAGES;
}
