import { execFile, spawn } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { unstable_readConfig as readConfig } from "wrangler";
import { type Block, blocksOf, onlyBlockOf } from "../support/documents.ts";
import { Server, START_TIMEOUT_MS } from "../support/server.ts";
import { expectedStatuses, paste } from "../support/shell.ts";
import { newXanoClient } from "../support/xano.ts";
import { join as joinChannel, publish } from "./support.ts";

/** A newcomer's: nothing was published yet. */
let server: Server;
beforeAll(async () => {
  server = await Server.start();
}, START_TIMEOUT_MS);
afterAll(() => server.remove());

/** A text of a document, with the test server's address and key in place of the reader's. */
const here = (text: string) =>
  text
    .replaceAll(/https?:\/\/(localhost:8787|your\.host)/g, server.url)
    .replaceAll("ws://localhost:8787", server.url.replace("http", "ws"))
    .replaceAll("YOUR-API-KEY", server.apiKey);

/** Pastes a page's blocks into one shell, checks the status of each answer, and returns what each block said, by its line. */
async function pasteAll(blocks: Block[]): Promise<Map<number, string>> {
  const said = await paste(blocks.map(({ code }) => here(code)));
  const outputs = new Map<number, string>();
  for (const [index, { document, line, code }] of blocks.entries()) {
    const { statuses, output } = said[index] ?? { statuses: [], output: "" };
    const outcome = statuses.map((status) => (status >= 200 && status < 300 ? "2xx" : status));
    expect(outcome, `${document}:${line}: ${output}`).toEqual(expectedStatuses(code));
    outputs.set(line, output);
  }
  return outputs;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

describe("README.md", () => {
  it("runs as written, block after block, and gets the answers that it shows", async () => {
    const said = await pasteAll(blocksOf("README.md", "sh"));
    for (const { line, code } of blocksOf("README.md", "json")) {
      const output = said.get([...said.keys()].findLast((at) => at < line) ?? 0) ?? "";
      const shown = JSON.parse(code) as { time: string };
      expect(shown.time).toMatch(TIME);
      expect(JSON.parse(output), `README.md:${line}`).toEqual({ ...shown, time: expect.stringMatching(TIME) });
    }
  });

  it("sets API_KEY in any shell, whatever the file's quotes, to the first key", async () => {
    const line =
      /^API_KEY=.*$/m.exec(
        blocksOf("README.md", "sh")
          .map(({ code }) => code)
          .join("\n"),
      )?.[0] ?? "";
    const directory = mkdtempSync(join(tmpdir(), "durable-channels-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    for (const text of ['API_KEYS="one"', "API_KEYS=one", 'A="b"\nAPI_KEYS="one,two"\nC="d"\n']) {
      writeFileSync(join(directory, ".dev.vars"), text);
      for (const shell of ["sh", "bash"]) {
        const [said] = await paste([`cd ${directory}\n${line}\nprintf %s "$API_KEY"`], shell);
        expect([said?.output, text]).toEqual(["one", text]);
      }
    }
  });

  it("shows a program that listens without the client", async () => {
    const program = spawn("node", ["--input-type=module", "--eval", here(onlyBlockOf("README.md", "js").code)]);
    onTestFinished(() => void program.kill());
    let said = "";
    for (const stream of [program.stdout, program.stderr]) stream.on("data", (text) => (said += String(text)));
    await vi.waitUntil(() => said.includes("action: 'history'"), { timeout: 30_000 });
    await publish(server, "marvel_chat_room", { name: "Wanda", text: "What did I miss?" });
    await vi.waitUntil(() => said.includes("What did I miss?"), { timeout: 30_000 });
    expect(said).not.toMatch(/error/i);
  });
});

describe("docs/guides/authentication.md", () => {
  it("runs as written, block after block, from nothing to a private channel", async () => {
    const said = await pasteAll(blocksOf("docs/guides/authentication.md", "sh"));
    expect([...said.values()].join("\n")).toContain('"payload":"Carol here"');
  });
});

describe("docs/guides/from-xano.md", () => {
  const programs = blocksOf("docs/guides/from-xano.md", "js");
  const [backend, client] = programs.map(({ code }) => code);

  it("has two programs: one for a backend, and one for Xano's client", () => {
    expect(programs).toHaveLength(2);
  });

  it("sends a message from a backend to every subscriber", async () => {
    const subscriber = await joinChannel(server, "marvel_chat_room");
    onTestFinished(() => subscriber.socket.close());
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--input-type=module", "--eval", here(backend ?? "")],
      { env: { PATH: process.env.PATH, API_KEY: server.apiKey }, timeout: 60_000 },
    );
    const frame = await subscriber.frame();
    expect(frame).toMatchObject({ action: "event", payload: { name: "Maria", text: "Fury is calling." } });
    expect(stdout).toBe(`Stored as message ${frame.options.seq}.\n`);
  });

  it("runs as written, block after block", async () => {
    await pasteAll(blocksOf("docs/guides/from-xano.md", "sh"));
  });

  it("configures Xano's client so that it joins", async () => {
    // It makes the global WebSocket one that puts the server's address in place of the standard port.
    newXanoClient(server.url);
    const { XanoClient } = await import("@xano/js-sdk");
    const context = { XanoClient, realtimeAuthToken: undefined };
    const xano = runInNewContext(`${client}; xano`, context) as InstanceType<typeof XanoClient>;
    const channel = xano.channel("marvel_chat_room");
    onTestFinished(() => channel.destroy());
    const actions: string[] = [];
    channel.on(({ action }: { action: string }) => actions.push(action));
    await vi.waitUntil(() => actions.includes("join"), { timeout: 30_000 });
  });
});

/** A block that is one statement: of several, SQLite would run the first and say nothing about the others. */
function statementOf(code: string): string {
  expect(code.split(";").map((part) => part.trim())).toEqual([expect.stringMatching(/./), ""]);
  return code;
}

describe("the local D1", () => {
  it("returns the history for the statement of docs/decisions/archive.md", async () => {
    const text = "Whatever it takes.";
    const { seq } = await publish(server, "marvel_chat_room", { name: "Steve", text });
    await vi.waitUntil(() => server.archive("marvel_chat_room").some((row) => row.seq === seq), { timeout: 30_000 });
    for (const { code } of blocksOf("docs/decisions/archive.md", "sql")) {
      expect(server.query(statementOf(code))).toContainEqual({
        seq,
        at: expect.stringMatching(/^\d{4}-/) as string,
        said: text,
      });
    }
  });

  it("deletes old messages with the statement of docs/guides/operating.md, except each channel's latest 1,000", async () => {
    const channel = "retention";
    const positions = Array.from({ length: 1_003 }, (_, index) => index + 1);
    const insert = `INSERT INTO messages (channel, seq, time, action, payload)
      SELECT ?, value, iif(value <= 5, 0, unixepoch() * 1000), 'event', '1' FROM json_each(?)`;
    server.query(insert, channel, JSON.stringify(positions));
    for (const { code } of blocksOf("docs/guides/operating.md", "sql")) server.query(statementOf(code));
    const left = server.archive(channel).map(({ seq }) => seq);
    // The first five are old, and the fourth is the first of the latest 1,000.
    expect(left).toEqual(positions.slice(3));
  });
});

describe("wrangler.toml with what docs/guides/operating.md adds", () => {
  it("binds METRICS", () => {
    const directory = mkdtempSync(join(tmpdir(), "durable-channels-"));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const config = join(directory, "wrangler.toml");
    writeFileSync(
      config,
      `${readFileSync("wrangler.toml", "utf8")}\n${onlyBlockOf("docs/guides/operating.md", "toml").code}`,
    );
    const { analytics_engine_datasets } = readConfig({ config });
    expect(analytics_engine_datasets).toEqual([{ binding: "METRICS", dataset: "durable_channels" }]);
  });
});

describe("docs/layout.md", () => {
  it("names files and directories that exist", () => {
    let directory = "";
    const missing: string[] = [];
    for (const line of onlyBlockOf("docs/layout.md", "").code.split("\n")) {
      const [, indent, names = ""] = /^( *)([^\s,]+(?:, [^\s,]+)*)/.exec(line) ?? [];
      if (indent === "") directory = names;
      const paths = names.split(", ").map((name) => (indent === "" ? name : join(directory, name)));
      missing.push(...paths.filter((path) => globSync(path).length === 0));
    }
    expect(missing).toEqual([]);
  });
});
