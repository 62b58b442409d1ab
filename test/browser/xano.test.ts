import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launch } from "../support/chromium.ts";
import { call, newChannel, publish, target, tokenFor } from "../e2e/support.ts";

const BUNDLE = readFileSync(createRequire(import.meta.url).resolve("@xano/js-sdk/dist/xano.min.js"), "utf8");

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

/**
 * A page with Xano's browser bundle, unmodified. It always opens wss: on the standard port; only the global WebSocket is
 * replaced, by one that puts the test server's address in that place.
 */
async function openPage(): Promise<Page> {
  const page = await browser.newPage();
  onTestFinished(() => page.close());
  await page.goto(target().url);
  await page.evaluate(`
    const Real = WebSocket;
    window.WebSocket = class extends Real {
      constructor(address, protocols) {
        super(location.origin.replace(/^http/, "ws") + new URL(address).pathname, protocols);
      }
    };
    window.global = window;
    ${BUNDLE}
    window.actions = [];
    window.joinChannel = (name, token) => {
      const xano = new XanoClient({
        instanceBaseUrl: "https://xano.test",
        realtimeConnectionCanonical: "canonical",
        realtimeAuthToken: token,
        storage: new XanoObjectStorage(),
      });
      const keep = (action) => actions.push({ handler: "action", ...action });
      window.channel = xano.channel(name, { history: true, presence: true });
      channel.on(keep, (error) => actions.push({ handler: "error", ...error }));
    };
  `);
  return page;
}

const settled = (page: Page, condition: string) =>
  expect.poll(() => page.evaluate(condition), { timeout: 30_000 }).toBe(true);

describe("Xano's own client in a browser", () => {
  it("joins with history and presence, sends, receives messages and events separately, and leaves", async () => {
    const channel = newChannel();
    const open = { anonymous_clients: true, presence: true, message_history: 25, public_messaging: { active: true } };
    await call(target(), "PUT", `/channels/${encodeURIComponent(channel)}`, open);
    await publish(target(), channel, "said before");
    const [one, two] = [await openPage(), await openPage()];
    for (const page of [one, two]) {
      await page.evaluate(`joinChannel(${JSON.stringify(channel)})`);
      await settled(
        page,
        `actions.some(({ action, payload }) => action === "history" && payload[0].payload === "said before")`,
      );
    }
    for (const page of [one, two]) await settled(page, `channel.getPresence().length === 2`);
    await one.evaluate(`channel.message({ text: "hi" })`);
    for (const page of [one, two])
      await settled(page, `actions.some(({ action, payload }) => action === "message" && payload.text === "hi")`);
    await publish(target(), channel, "from the server");
    for (const page of [one, two])
      await settled(page, `actions.some(({ action, payload }) => action === "event" && payload === "from the server")`);
    await two.evaluate(`channel.destroy()`);
    await settled(one, `channel.getPresence().length === 1`);
    expect(await one.evaluate(`actions.filter(({ handler }) => handler === "error")`)).toEqual([]);
  });

  it("is identified by its token, and receives an error if the token is not enough", async () => {
    const { channel, token } = await tokenFor(target(), newChannel(), 42);
    const [user, anonymousClient] = [await openPage(), await openPage()];
    await user.evaluate(`joinChannel(${JSON.stringify(channel)}, ${JSON.stringify(token)})`);
    await settled(user, `actions.some(({ action, client }) => action === "join" && client.permissions.row_id === 42)`);
    await anonymousClient.evaluate(`joinChannel(${JSON.stringify(channel)})`);
    await settled(
      anonymousClient,
      `actions.some(({ handler, payload }) => handler === "error" && payload.code === "unauthorized")`,
    );
  });
});
