import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { newRoom, target } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { serve } from "../support/serve.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

it("a page of the server's own imports /client.js, and uses a channel", async () => {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  await page.goto(target().url);
  const heard = page.evaluate(`(async () => {
    const { createClient } = await import("/client.js");
    const room = createClient().channel(${JSON.stringify(await newRoom(target()))});
    const heard = new Promise((resolve) => room.on("message", resolve));
    await room.send("hello");
    return (await heard).payload;
  })()`);
  expect(await heard).toBe("hello");
});

it("a page of another origin imports /client.js, by which it is not let in", async () => {
  const { url } = target();
  const script = `
    import { createClient } from "${url}/client.js";
    document.title = typeof createClient;
    createClient({ url: "${url}" }).channel("marvel_chat_room").on("status", (status) => (document.title = status));
  `;
  const origin = await serve((_, response) => {
    response.setHeader("Content-Type", "text/html").end(`<!doctype html><script type="module">${script}</script>`);
  });
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  await page.goto(origin);
  await expect.poll(() => page.title()).toBe("offline");
});
