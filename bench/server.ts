import { type ChildProcess, spawn } from "node:child_process";
import { connect } from "node:net";
import { freePort } from "../test/support/port.ts";
import { API_KEY, CHANNEL, type Peer } from "./peers.ts";

/** The core that servers run on, and the core that the load generator runs on. */
export const SERVER_CORE = "0";
export const LOAD_CORE = "1";

/** A running server of a peer. */
export class Server {
  readonly port: number;
  readonly pid: number;
  readonly #process: ChildProcess;

  private constructor(started: ChildProcess, port: number) {
    this.#process = started;
    this.port = port;
    this.pid = started.pid ?? 0;
  }

  /** Starts the server on its core, and waits until it answers. */
  static async start({ name, command, dialect }: Peer): Promise<Server> {
    const port = await freePort();
    const started = spawn("taskset", ["-c", SERVER_CORE, ...command(port)], {
      detached: true,
      stdio: ["ignore", "pipe", process.env["DEBUG"] === undefined ? "ignore" : "inherit"],
    });
    const server = new Server(started, port);
    await new Promise<void>((resolve, reject) => {
      started.once("exit", () => reject(new Error(`${name} ended while starting`)));
      started.stdout?.on("data", (text) => String(text).includes("ready") && resolve());
    });
    while (!(await answers(port))) await new Promise((resolve) => setTimeout(resolve, 20));
    if (dialect === "single" || dialect === "batch") await openChannel(port);
    return server;
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    process.kill(-this.pid, "SIGKILL");
    await ended;
  }
}

/** Opens the channel to anonymous clients. Only this project needs it, because the other peers have no permissions. */
async function openChannel(port: number): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}/channels/${CHANNEL}`, {
    method: "PUT",
    headers: { Authorization: `Bearer ${API_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({ anonymous_clients: true, message_history: 100 }),
  });
  if (!answer.ok) throw new Error(await answer.text());
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(port, "127.0.0.1", () => {
      probe.destroy();
      resolve(true);
    }).once("error", () => resolve(false));
  });
}
