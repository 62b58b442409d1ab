import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { target } from "../../../../test/e2e/support.ts";
import { launch } from "../../../../test/support/chromium.ts";
import { blocksOf, filesOf } from "../../../../test/support/documents.ts";
import { freePort } from "../../../../test/support/port.ts";

/** What the page calls `latest`: fixed here, so that only a change of this repository can break the test. */
const CREATE_VITE = "9.3.0";
/** How long installing may take, in milliseconds: npm fetches what it has not cached. */
const INSTALL_TIMEOUT_MS = 300_000;

let browser: Browser;
/** The directory in which the reader works: it holds `durable-channels`, with the package, and gets the app. */
let home: string;
beforeAll(async () => {
  browser = await launch();
  home = mkdtempSync(join(tmpdir(), "durable-channels-vite-"));
  mkdirSync(join(home, "durable-channels"));
  await promisify(execFile)("npm", [
    "pack",
    "--silent",
    "--workspace",
    "durable-channels-client",
    "--pack-destination",
    join(home, "durable-channels"),
  ]);
}, INSTALL_TIMEOUT_MS);
afterAll(async () => {
  await browser.close();
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
});

/** Makes the app as the page says, with this server's address in it. Returns its directory. */
async function makeApp(commands: string): Promise<string> {
  const script = commands.replace("npm create vite@latest", `npm create --yes vite@${CREATE_VITE}`);
  expect(script).not.toBe(commands);
  await promisify(execFile)("sh", ["-ec", script], { cwd: home, env: outsideOfNpm(), timeout: INSTALL_TIMEOUT_MS });
  const app = join(home, "my-app");
  for (const [path, code] of Object.entries(filesOf(blocksOf("docs/guides/client.md", "tsx")))) {
    writeFileSync(join(app, path), code.replace("http://localhost:8787", target().url));
  }
  return app;
}

/** The environment without what `npm test` adds to it: the reader's npm knows nothing of this repository. */
function outsideOfNpm(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.toLowerCase().startsWith("npm_")));
}

/** Starts the app's development server, until the test is over. Returns its address. */
async function start(app: string, command: string): Promise<string> {
  const port = await freePort();
  // A process group of its own, so that all of it can be ended at once.
  const script = `${command.trim()} -- --port ${port} --strictPort`;
  const started = spawn("sh", ["-c", script], { cwd: app, env: outsideOfNpm(), detached: true });
  onTestFinished(() => void process.kill(-(started.pid ?? 0), "SIGKILL"));
  await printed(started, `localhost:${port}`);
  return `http://localhost:${port}`;
}

/** Waits until a process prints a text, in whatever color. */
function printed(started: ChildProcess, text: string): Promise<void> {
  let output = "";
  return new Promise((resolve, reject) => {
    const note = (chunk: unknown) => {
      // eslint-disable-next-line no-control-regex
      output += String(chunk).replaceAll(/\u001b\[\d+m/g, "");
      if (output.includes(text)) resolve();
    };
    started.stdout?.on("data", note);
    started.stderr?.on("data", note);
    started.once("exit", () => reject(new Error(`It ended, and had printed only:\n${output}`)));
  });
}

// A deployed server allows no page of another port.
describe.runIf(target().url.startsWith("http://"))(
  "the React app of docs/guides/client.md, made with Vite step by step",
  () => {
    it(
      "is online on its own port, and shows its own messages (LIM9)",
      async () => {
        const [making, running] = blocksOf("docs/guides/client.md", "sh");
        const url = await start(await makeApp(making?.code ?? ""), running?.code ?? "");
        const page = await browser.newPage();
        const errors: string[] = [];
        page.on("pageerror", ({ message }) => errors.push(message));
        page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
        onTestFinished(() => page.close());
        await page.goto(url);
        await page.getByText(/^online, [1-9]\d* here\s*$/).waitFor();
        const said = page.getByRole("listitem").filter({ hasText: '{"name":"Sam","text":"hello"}' });
        const before = await said.count();
        await page.getByRole("button", { name: "Say hello" }).click();
        await expect.poll(() => said.count()).toBe(before + 1);
        expect(errors.filter((text) => !text.includes("favicon"))).toEqual([]);
      },
      INSTALL_TIMEOUT_MS,
    );
  },
);
