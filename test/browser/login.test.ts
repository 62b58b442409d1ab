import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { call, target, type Target } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { onlyBlockOf } from "../support/documents.ts";
import { freePort } from "../support/port.ts";

const DOCUMENT = readFileSync("docs/guides/authentication.md", "utf8");
/** The commands and inputs that the page shows. */
const [, COMMAND = "", NAME = "", PASSWORD = ""] =
  /Run `([^`]+)` and open .*?Log in as `(\w+)` with the\s+password `([^`]+)`/s.exec(DOCUMENT) ?? [];

let browser: Browser;
let server: Target;
let backend: ChildProcess;
let directory: string;
let address: string;

beforeAll(async () => {
  browser = await launch();
  const port = await freePort();
  address = `http://localhost:${port}`;
  server = target();
  await call(server, "PUT", "/databases/users", { dbo_id: 1, secret: "AUTH_SECRET", extras_claim: "extras" });
  const settings = { database: "users", message_history: 100, public_messaging: { active: true, auth: true } };
  expect((await call(server, "PUT", "/channels/hq", settings)).status).toBe(200);
  const here = (text: string) =>
    text.replaceAll("localhost:8787", `localhost:${new URL(server.url).port}`).replaceAll("3001", String(port));
  directory = mkdtempSync(join(tmpdir(), "durable-channels-"));
  writeFileSync(join(directory, "login.mjs"), here(onlyBlockOf("docs/guides/authentication.md", "js").code));
  writeFileSync(join(directory, "login.html"), here(onlyBlockOf("docs/guides/authentication.md", "html").code));
  const env = { ...process.env, API_KEY: server.apiKey };
  backend = spawn("sh", ["-c", COMMAND], { cwd: directory, env, detached: true, stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => backend.stdout?.once("data", resolve));
}, 300_000);

afterAll(async () => {
  if (backend.pid !== undefined) process.kill(-backend.pid);
  rmSync(directory, { recursive: true });
  await browser.close();
});

/** The page in a browser of its own, with its own cookies. */
async function visit(): Promise<Page> {
  const context = await browser.newContext();
  onTestFinished(() => context.close());
  const page = await context.newPage();
  await page.goto(address);
  await expect.poll(() => noticeOf(page)).toBe("Log in first.");
  return page;
}

async function logIn(page: Page, password = PASSWORD): Promise<void> {
  await page.getByLabel("Name").fill(NAME);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

const noticeOf = (page: Page) => page.getByRole("status").textContent();
const itemsOf = (page: Page) => page.locator("li").allTextContents();

describe("the login page of docs/guides/authentication.md", () => {
  it("asks a visitor to log in, and shows nothing of the channel", async () => {
    await call(server, "POST", "/message", { channel: "hq", message: "secret" });
    const page = await visit();
    expect(await itemsOf(page)).toEqual([]);
    expect(await page.getByRole("button", { name: "Send" }).isVisible()).toBe(false);
  });

  it("refuses a wrong password, and an unknown name", async () => {
    const page = await visit();
    await logIn(page, "guess");
    await expect.poll(() => noticeOf(page)).toBe("Wrong name or password.");
    expect((await fetch(`${address}/login`, { method: "POST", body: new URLSearchParams({}) })).status).toBe(401);
    expect((await fetch(`${address}/token`, { method: "POST", headers: { Cookie: "session=guess" } })).status).toBe(
      401,
    );
  });

  it("admits a user to the private channel, also after a reload", async () => {
    const [one, two] = [await visit(), await visit()];
    for (const page of [one, two]) {
      await logIn(page);
      await expect.poll(() => noticeOf(page)).toBe("Logged in as Carol.");
    }
    await one.getByLabel("Message").fill("Higher!");
    await one.getByRole("button", { name: "Send" }).click();
    for (const page of [one, two]) await expect.poll(async () => (await itemsOf(page)).at(-1)).toBe("Carol: Higher!");
    await two.reload();
    await expect.poll(async () => (await itemsOf(two)).at(-1)).toBe("Carol: Higher!");
    expect(await two.getByRole("button", { name: "Log in" }).isVisible()).toBe(false);
  });

  it("answers anything else with 404, and a body that is too long without reading it all", async () => {
    expect((await fetch(`${address}/__proto__`)).status).toBe(404);
    expect((await fetch(`${address}/login`, { method: "POST", body: "x".repeat(20_000) })).status).toBe(500);
  });
});
