import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launch } from "../support/chromium.ts";
import { Server } from "../support/server.ts";
import { newChannel, publish, target, tokenFor } from "../e2e/support.ts";

const ROOM = "marvel_chat_room";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

/** A tab with the chat open and online, closed with its test; what goes wrong in it fails the test. */
async function open(url: string, viewport = { width: 1000, height: 700 }): Promise<Page> {
  const page = await browser.newPage({ viewport });
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  onTestFinished(async () => {
    await page.close();
    // A network that fails is what some tests are about.
    expect(errors.filter((text) => !text.includes("net::ERR_"))).toEqual([]);
  });
  await page.goto(url);
  await online(page);
  return page;
}

const online = (page: Page) => page.locator("#status", { hasText: /^Online/ }).waitFor();
const said = (page: Page, text: string) => page.getByRole("log").getByText(text, { exact: true });
const texts = (page: Page) => page.locator("#messages .said").allTextContents();

async function say(page: Page, text: string, name = "Carol"): Promise<void> {
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

describe("the chat page", () => {
  it("shows in every tab what is said in one, and the history after a reload", async () => {
    const { url } = target();
    const [one, two] = [await open(url), await open(url)];
    const greeting = `Higher, further, faster ${crypto.randomUUID()}`;
    const reply = `On your left ${crypto.randomUUID()}`;
    await say(one, greeting);
    await said(two, greeting).waitFor();
    await say(two, reply, "Sam");
    for (const page of [one, two]) await said(page, reply).waitFor();
    expect(await texts(one)).toEqual(await texts(two));

    await one.reload();
    await online(one);
    await said(one, reply).waitFor();
    expect(await texts(one)).toEqual(await texts(two));
  });

  it("shows what the server side published, whatever JSON it is", async () => {
    const page = await open(target().url);
    const mark = crypto.randomUUID();
    for (const message of [`plain ${mark}`, { mark, n: 1 }, [mark], null]) await publish(target(), ROOM, message);
    await said(page, `plain ${mark}`).waitFor();
    for (const json of [{ mark, n: 1 }, [mark]]) await said(page, JSON.stringify(json)).waitFor();
  });

  it("shows markup as text", async () => {
    const page = await open(target().url);
    const attack = `<img src=x onerror="document.title='owned'"><b>${crypto.randomUUID()}</b>`;
    await say(page, attack, "<i>Loki</i>");
    await said(page, attack).waitFor();
    expect(await page.locator("#messages img, #messages b, #messages i").count()).toBe(0);
    expect(await page.title()).not.toBe("owned");
  });

  it("can be used by keyboard alone", async () => {
    const page = await open(target().url);
    const text = `typed ${crypto.randomUUID()}`;
    for (const expected of ["messages", "name", "text", "send"]) {
      await page.keyboard.press("Tab");
      expect(await page.evaluate(() => document.activeElement?.id)).toBe(expected);
      if (expected === "name") await page.keyboard.type("Wanda");
      if (expected === "text") await page.keyboard.type(text);
    }
    await page.keyboard.press("Space");
    await said(page, text).waitFor();
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("text");
  });

  it("tells a screen reader what is what", async () => {
    const page = await open(target().url);
    await page.getByRole("heading", { level: 1, name: "Marvel chat room" }).waitFor();
    await page.getByRole("status").filter({ hasText: "Online" }).waitFor();
    await page.getByRole("log", { name: "Messages" }).waitFor();
    await page.getByRole("form", { name: "Send a message" }).waitFor();
    await page.getByRole("button", { name: "Send" }).waitFor();
  });

  it("fits a phone's width", async () => {
    const page = await open(target().url, { width: 360, height: 640 });
    await say(page, `Word${"x".repeat(300)}`);
    await page.getByText("Wordxxx").last().waitFor();
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow).toBe(0);
    expect(await page.getByRole("button", { name: "Send" }).isVisible()).toBe(true);
  });

  it("keeps a text that could not be sent, and says why", async () => {
    const page = await open(target().url);
    await page.route("**/message", (route) => route.abort());
    await say(page, "do not lose me");
    await page.getByRole("alert").filter({ hasText: "Not sent" }).waitFor();
    expect(await page.getByLabel("Message", { exact: true }).inputValue()).toBe("do not lose me");
  });

  it("comes back by itself after the server was away, with all that was missed, and says so (RES1)", async () => {
    const server = await Server.start();
    onTestFinished(() => server.remove());
    const page = await open(server.url);
    await say(page, "before");
    await said(page, "before").waitFor();
    await server.kill();
    await page.locator("#status", { hasText: "Offline" }).waitFor();
    await server.run();
    await publish(server, ROOM, "while you were away");
    await page.getByRole("status").filter({ hasText: "you missed nothing" }).waitFor();
    await said(page, "while you were away").waitFor();
    expect(await texts(page)).toEqual(["before", "while you were away"]);
  });
});

describe("a page's own WebSocket", () => {
  it.each([[(token: string) => [token]], [(token: string) => ["durable-channels.v1", token]]])(
    "brings a token as subprotocol, and the browser keeps the connection (AUT4, CON5)",
    async (protocols) => {
      const { token, channel } = await tokenFor(target(), newChannel(), 42);
      const page = await open(target().url);
      const joined = await page.evaluate(
        async ({ path, offered }) => {
          const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}${path}`, offered);
          return new Promise<string>((resolve) => {
            socket.addEventListener("open", () => socket.send('{"action":"join"}'));
            socket.addEventListener("message", ({ data }) => resolve(String(data)));
            socket.addEventListener("close", ({ code }) => resolve(`closed ${code}`));
          });
        },
        { path: `/channels/${encodeURIComponent(channel)}/socket`, offered: protocols(token) },
      );
      expect(joined).toContain('"row_id":42');
    },
  );
});
