import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { publishAnonymously } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { blocksOf, filesOf, onlyBlockOf } from "../support/documents.ts";
import { freePort } from "../support/port.ts";
import { Server, START_TIMEOUT_MS } from "../support/server.ts";

const CHANNEL = "marvel_chat_room";
const SNIPPET = onlyBlockOf("README.md", "html").code;

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

/** A page in which nothing goes wrong. */
async function openPage(address: string): Promise<Page> {
  const page = await browser.newPage();
  const faults: string[] = [];
  page.on("pageerror", ({ message }) => faults.push(message));
  page.on(
    "console",
    (message) => message.type() === "error" && faults.push(`${message.location().url} ${message.text()}`),
  );
  onTestFinished(async () => {
    await page.close();
    expect(faults.filter((text) => !text.includes("favicon"))).toEqual([]);
  });
  await page.goto(address);
  return page;
}

const itemsOf = (page: Page) => page.locator("li").allTextContents();
const say = ({ url, apiKey }: Server, text: string) =>
  publishAnonymously({ url, apiKey }, CHANNEL, { name: "Sam", text });

describe("the first page of your own (README.md)", () => {
  let server: Server;
  let playground: ChildProcess;
  let directory: string;
  let address: string;

  beforeAll(async () => {
    const port = await freePort();
    address = `http://localhost:${port}`;
    server = await Server.start();
    directory = mkdtempSync(join(tmpdir(), "durable-channels-"));
    edit((page) => page);
    const flags = [`--serve=localhost:${port}`, `--servedir=${directory}`];
    // Ends when its input does, so the input stays open.
    playground = spawn("npm", ["run", "playground", "--", ...flags], {
      detached: true,
      stdio: ["pipe", "pipe", "inherit"],
    });
    await new Promise((resolve) =>
      playground.stdout?.on("data", (text) => String(text).includes(String(port)) && resolve(text)),
    );
  }, START_TIMEOUT_MS);
  afterAll(async () => {
    if (playground.pid !== undefined) process.kill(-playground.pid);
    rmSync(directory, { recursive: true });
    await server.remove();
  });

  /** Saves the page as README.md has it, edited, with the test server's address. */
  function edit(how: (page: string) => string): void {
    const { port } = new URL(server.url);
    writeFileSync(join(directory, "index.html"), how(SNIPPET.replaceAll("localhost:8787", `localhost:${port}`)));
  }

  it("is the same as the playground's page", () => {
    expect(readFileSync("playground/index.html", "utf8")).toBe(`${SNIPPET}\n`);
    expect(SNIPPET.split("\n").length).toBeLessThanOrEqual(25);
  });

  it("shows the history, messages published over HTTP, and its own messages", async () => {
    await say(server, "Before.");
    const page = await openPage(address);
    await expect.poll(() => itemsOf(page)).toEqual(["Sam: Before."]);
    await say(server, "On your left.");
    await page.getByRole("textbox", { name: "Message" }).fill("On my way.");
    await page.getByRole("button", { name: "Send" }).click();
    const all = ["Sam: Before.", "Sam: On your left.", "Natasha: On my way."];
    await expect.poll(() => itemsOf(page)).toEqual(all);
    await expect.poll(() => page.getByRole("textbox").inputValue()).toBe("");
    expect(await page.getByRole("status").textContent()).toBe("online");
    const other = await openPage(address);
    await expect.poll(() => itemsOf(other)).toEqual(all);
  });

  it("can be edited and reloaded", async () => {
    const page = await openPage(address);
    edit((text) => text.replace("<h1>Marvel chat room</h1>", "<h1>Edited</h1>"));
    await page.reload();
    await page.getByRole("heading", { name: "Edited" }).waitFor();
    edit((text) => text);
  });

  it("says what to do while the server is not running", async () => {
    edit((text) => text.replaceAll(new URL(server.url).port, "1"));
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    await page.goto(address);
    expect(await page.getByRole("status").textContent()).toContain("npm start");
    edit((text) => text);
  });

  it("is available on this machine only", async () => {
    const { port } = new URL(address);
    expect((await fetch(address)).status).toBe(200);
    const others = Object.values(networkInterfaces()).flatMap((all = []) =>
      all.filter(({ internal, family }) => !internal && family === "IPv4"),
    );
    for (const { address: ip } of others) await expect(fetch(`http://${ip}:${port}`)).rejects.toThrow("fetch failed");
  });
});

describe("a page that the server itself serves (docs/guides/client.md)", () => {
  it(
    "imports the client without an address, under the Content Security Policy",
    { timeout: START_TIMEOUT_MS },
    async () => {
      const directory = mkdtempSync(join(tmpdir(), "durable-channels-"));
      onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
      cpSync("public", directory, { recursive: true });
      writeFileSync(join(directory, "room.html"), onlyBlockOf("docs/guides/client.md", "html").code);
      writeFileSync(
        join(directory, "room.js"),
        filesOf(blocksOf("docs/guides/client.md", "js"))["public/room.js"] ?? "",
      );
      const server = await Server.start("--assets", directory);
      onTestFinished(() => server.remove());
      const page = await openPage(`${server.url}/room`);
      await say(server, "On your left.");
      await expect.poll(() => itemsOf(page)).toEqual(["On your left."]);
    },
  );
});
