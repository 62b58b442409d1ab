import { build } from "esbuild";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { history, newRoom, target } from "../../../../test/e2e/support.ts";
import { launch } from "../../../../test/support/chromium.ts";

let browser: Browser;
let bundle: string;
beforeAll(async () => {
  const entryPoints = ["packages/client/test/browser/outbox-page.ts"];
  bundle = (await build({ entryPoints, bundle: true, write: false, format: "iife" })).outputFiles[0]?.text ?? "";
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

/** Opens a page with a client that has opened a channel. */
async function openPage(context: BrowserContext, name: string, prepare?: (page: Page) => Promise<void>): Promise<Page> {
  const page = await context.newPage();
  await prepare?.(page);
  await page.goto(target().url);
  await page.evaluate(`${bundle}; globalThis.room = open(${JSON.stringify(name)}); undefined`);
  return page;
}

const kept = (page: Page, name: string) => page.evaluate(`kept(${JSON.stringify(name)})`);

describe("messages in IndexedDB", () => {
  it("survive a page that never connected, and are stored once and in order though two tabs send them", async () => {
    const name = await newRoom(target());
    const context = await browser.newContext();
    onTestFinished(() => context.close());
    // The socket of the first page is never answered.
    const offline = await openPage(context, name, (page) =>
      page.routeWebSocket(
        (url) => url.pathname.includes(encodeURIComponent(name)),
        () => {},
      ),
    );
    await offline.evaluate('for (const text of ["one", "two", "three"]) void room.send(text)');
    await expect.poll(() => kept(offline, name)).toBe(3);
    await offline.close();
    const [tab, other] = await Promise.all([openPage(context, name), openPage(context, name)]);
    await expect.poll(() => kept(tab, name)).toBe(0);
    await other.evaluate('room.send("four")');
    const { messages } = await history(target(), name);
    expect(messages.map(({ payload }) => payload)).toEqual(["one", "two", "three", "four"]);
  });
});
