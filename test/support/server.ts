import { type ChildProcess, spawn, execFileSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { TestProject } from "vitest/node";
import { freePort } from "./port.ts";

declare module "vitest" {
  export interface ProvidedContext {
    baseUrl: string;
    apiKey: string;
  }
}

/**
 * Provides a server for the tests: the deployed one that BASE_URL and API_KEY name, or a new one on this machine, started with
 * `npm start`.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  buildClient();
  const { BASE_URL, API_KEY } = process.env;
  if (BASE_URL !== undefined && API_KEY !== undefined) {
    project.provide("baseUrl", BASE_URL);
    project.provide("apiKey", API_KEY);
    return async () => {};
  }
  const server = await Server.start();
  project.provide("baseUrl", server.url);
  project.provide("apiKey", server.apiKey);
  return () => server.remove();
}

/**
 * Builds the client package, so that tests that pack it at the same time do not write its files: the build is
 * incremental.
 */
function buildClient(): void {
  execFileSync("npm", ["run", "--silent", "--workspace", "durable-channels-client", "build"]);
}

/** The timeout of a hook that starts a server. On a busy machine several may start at the same time. */
export const START_TIMEOUT_MS = 300_000;

/** Runs `npm start` on a free port, with its data in a temporary directory. */
export class Server {
  readonly #data = mkdtempSync(join(tmpdir(), "durable-channels-"));
  readonly #port: number;
  readonly #flags: readonly string[];
  #process: ChildProcess | undefined;
  #output = "";

  private constructor(port: number, flags: readonly string[]) {
    this.#port = port;
    this.#flags = flags;
  }

  /** @param flags More flags for `npm start`. */
  static async start(...flags: string[]): Promise<Server> {
    const server = new Server(await freePort(), flags);
    await server.run();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** The API key that `npm start` created or found in .dev.vars. */
  get apiKey(): string {
    const key = /^API_KEYS="?([^",\n]+)/m.exec(readFileSync(".dev.vars", "utf8"))?.[1];
    if (key === undefined) throw new Error(".dev.vars holds no API_KEYS");
    return key;
  }

  /** @param more Flags of `npm start` for this run only. */
  async run(more: string[] = []): Promise<void> {
    const flags = [
      "--ip",
      "127.0.0.1",
      "--port",
      String(this.#port),
      "--inspector-port",
      "0",
      "--persist-to",
      this.#data,
      ...this.#flags,
      ...more,
    ];
    // In its own process group, so that all of its processes can be killed at once.
    const started = spawn("npm", ["start", "--", ...flags], { detached: true, stdio: ["ignore", "pipe", "pipe"] });
    this.#process = started;
    for (const stream of [started.stdout, started.stderr]) stream.on("data", (text) => (this.#output += String(text)));
    while (!(await this.#answers())) {
      if (started.exitCode !== null) throw new Error(`The server ended while starting:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Returns a channel's rows in the local D1. */
  archive(channel: string): { seq: number; payload: string }[] {
    const sql = "SELECT seq, payload FROM messages WHERE channel = ? ORDER BY seq";
    return this.query(sql, channel) as { seq: number; payload: string }[];
  }

  /** Runs a SQL statement on the local D1's file. Returns the rows. */
  query(sql: string, ...values: string[]): object[] {
    const files = globSync(join(this.#data, "v3/d1/*/*.sqlite")).filter((file) => !file.endsWith("metadata.sqlite"));
    if (files.length !== 1 || files[0] === undefined) throw new Error(`one D1 was expected: ${files.join(", ")}`);
    const database = new DatabaseSync(files[0]);
    try {
      return database.prepare(sql).all(...values);
    } finally {
      database.close();
    }
  }

  /** Ends every process of the server at once, as a crash of the machine would. */
  async kill(): Promise<void> {
    const running = this.#process;
    if (running?.pid === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise((resolve) => running.once("exit", resolve));
    process.kill(-running.pid, "SIGKILL");
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true, maxRetries: 5 });
  }

  async #answers(): Promise<boolean> {
    return fetch(this.url).then(
      ({ ok }) => ok,
      () => false,
    );
  }
}
