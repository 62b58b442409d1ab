import { build } from "esbuild";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launch } from "../../../../test/support/chromium.ts";
import { serve } from "../../../../test/support/serve.ts";
import { call, newChannel, newRoom, publish, target } from "../../../../test/e2e/support.ts";

let browser: Browser;
let bundle: string;
beforeAll(async () => {
  const development = { "process.env.NODE_ENV": '"development"' };
  const options = { bundle: true, write: false, format: "iife", define: development } as const;
  bundle =
    (await build({ ...options, entryPoints: ["packages/client/test/browser/react-room.ts"] })).outputFiles[0]?.text ??
    "";
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

/** A page with the room, which shows one channel after the other; what goes wrong in it fails the test. */
async function openRooms(...args: (string | ((page: Page) => void))[]): Promise<Page> {
  const names = args.filter((arg) => typeof arg === "string");
  const page = await browser.newPage();
  for (const arg of args) if (typeof arg === "function") arg(page);
  const errors: string[] = [];
  page.on("pageerror", ({ message }) => errors.push(message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  onTestFinished(async () => {
    await page.close();
    expect(errors.filter((text) => !/favicon|401|WebSocket/.test(text))).toEqual([]);
  });
  await page.goto(target().url);
  await page.evaluate(`${bundle}; render(${JSON.stringify(names)})`);
  return page;
}

const online = (page: Page) => page.locator("#status", { hasText: "online" }).waitFor();
const texts = (page: Page) => page.locator("li").allTextContents();

async function present(channel: string): Promise<number> {
  return (await presence(channel)).length;
}

async function presence(channel: string): Promise<{ state?: object }[]> {
  const answer = await call(target(), "GET", `/channels/${encodeURIComponent(channel)}/presence`);
  return ((await answer.json()) as { presence: { state?: object }[] }).presence;
}

describe("useChannel, under StrictMode", () => {
  it("renders the history and then new messages, each once and only the latest; publishes and sends", async () => {
    const name = await newRoom(target());
    for (const text of ["one", "two"]) await publish(target(), name, text);
    const page = await openRooms(name);
    await online(page);
    await expect.poll(() => texts(page)).toEqual(["one", "two"]);
    await publish(target(), name, "three");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.locator("#places", { hasText: "4" }).waitFor();
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(() => texts(page)).toEqual(["one", "two", "three", "published", "sent"]);
    await publish(target(), name, "six");
    await expect.poll(() => texts(page)).toEqual(["two", "three", "published", "sent", "six"]);
  });

  it("knows the members and itself, joins once, and leaves when it is unmounted", async () => {
    const name = await newRoom(target());
    const page = await openRooms(name);
    await page.locator("#here", { hasText: "1 true" }).waitFor();
    expect(await present(name)).toBe(1);
    await page.getByRole("button", { name: "Next" }).click();
    await expect.poll(() => present(name)).toBe(0);
  });

  it("shares one connection and one member with other components that use the channel", async () => {
    const name = await newRoom(target());
    const sockets: string[] = [];
    const page = await openRooms(name, (opened) => opened.on("websocket", (socket) => sockets.push(socket.url())));
    await page.locator("#sidebar", { hasText: "online 1 null" }).waitFor();
    await page.locator("#here", { hasText: "1 true" }).waitFor();
    await page.getByRole("button", { name: "Type" }).click();
    await expect.poll(async () => (await presence(name)).map(({ state }) => state)).toEqual([{ typing: true }]);
    expect(sockets.filter((url) => url.includes(encodeURIComponent(name)))).toHaveLength(1);
    await page.getByRole("button", { name: "Next" }).click();
    await expect.poll(() => present(name)).toBe(0);
  });

  it("changes the channel when the name changes", async () => {
    const names = [await newRoom(target()), await newRoom(target())];
    for (const name of names) await publish(target(), name, `said in ${name}`);
    const page = await openRooms(...names);
    for (const name of names) {
      await expect.poll(() => texts(page)).toEqual([`said in ${name}`]);
      await page.getByRole("button", { name: "Next" }).click();
    }
    for (const name of names) await expect.poll(() => present(name)).toBe(0);
  });

  it("shows a refusal", async () => {
    const page = await openRooms(newChannel());
    await page.locator("#error", { hasText: "unauthorized" }).waitFor();
  });

  it("shows why a page of an origin that is not allowed stays offline (LIM9)", async () => {
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    const origin = (await serve((_, response) => void response.end())).replace("localhost", "app.localhost");
    await page.goto(origin);
    await page.evaluate(`${bundle}; render(["marvel_chat_room"], ${JSON.stringify(target().url)})`);
    await page.locator("#error", { hasText: "wrong-origin" }).waitFor();
    await page.locator("#status", { hasText: "offline" }).waitFor();
  });
});
