import type { IncomingMessage, ServerResponse } from "node:http";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { newRoom, target } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { serve } from "../support/serve.ts";
import { Server } from "../support/server.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

it("a page that the server serves imports /client.js and uses a channel", async () => {
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

describe("a page of another origin", () => {
  let server: Server;
  beforeAll(async () => void (server = await Server.start()));
  afterAll(() => server.remove());

  it("imports /client.js, receives the reason for a refusal, and is admitted once its origin is allowed (LIM9)", async () => {
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    // Chromium leads every name below localhost to this machine, yet only `localhost` itself is allowed by default.
    const origin = (await serve(emptyPage)).replace("localhost", "app.localhost");
    await page.goto(origin);
    const watched = `(async () => {
      const { createClient } = await import("${server.url}/client.js");
      globalThis.room = createClient({ url: "${server.url}" }).channel("marvel_chat_room");
      globalThis.seen = { statuses: [], errors: [] };
      room.on("status", (status) => seen.statuses.push(status));
      room.on("error", ({ code, status, field, message }) => seen.errors.push({ code, status, field, message }));
      return room.publish("refused").then(() => "published", ({ code }) => code);
    })()`;
    expect(await page.evaluate(watched)).toBe("wrong-origin");
    const seen = () => page.evaluate<{ statuses: string[]; errors: object[] }>("seen");
    await expect.poll(async () => (await seen()).errors.length).toBe(1);
    expect((await seen()).errors[0]).toEqual({
      code: "wrong-origin",
      status: 403,
      field: "Origin",
      message: expect.stringMatching(`Pages of ${origin} .* ALLOWED_ORIGINS`),
    });

    // The next attempts are refused as well: nothing new is to be said, and the status stays.
    let refused = 0;
    page.on("websocket", () => (refused += 1));
    await expect.poll(() => refused, { timeout: 60_000 }).toBeGreaterThan(1);
    expect(await seen()).toMatchObject({ statuses: ["offline"], errors: [{}] });

    await server.kill();
    await server.run(["--var", `ALLOWED_ORIGINS:${origin}`]);
    await expect.poll(async () => (await seen()).statuses, { timeout: 60_000 }).toEqual(["offline", "online"]);
    expect(await page.evaluate(`room.publish("welcome").then(({ seq }) => seq)`)).toBe(1);
    expect((await seen()).errors.length).toBe(1);
  }, 240_000);
});

function emptyPage(_: IncomingMessage, response: ServerResponse): void {
  response.setHeader("Content-Type", "text/html").end("<!doctype html><title>An app</title>");
}
