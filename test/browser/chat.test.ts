import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launch } from "../support/chromium.ts";
import { Server } from "../support/server.ts";
import { call, newChannel, publish, publishAnonymously, target, type Target, tokenFor } from "../e2e/support.ts";

const ROOM = "marvel_chat_room";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

interface Looks {
  viewport?: { width: number; height: number };
  colorScheme?: "light" | "dark";
}

/** A tab with the chat open and online, closed with its test; what goes wrong in it fails the test. */
async function open(url: string, { viewport = { width: 1000, height: 700 }, colorScheme }: Looks = {}): Promise<Page> {
  const page = await browser.newPage({ viewport, ...(colorScheme && { colorScheme }) });
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
const said = (page: Page, text: string) => page.locator("#messages").getByText(text, { exact: true });
const onTheirWay = (page: Page) => page.getByRole("list", { name: "On their way" });
const texts = (page: Page) => page.locator("#messages .said").allTextContents();

async function say(page: Page, text: string, name = "Carol"): Promise<void> {
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

/** Has the server side publish so many lines, `mark 1` and on. */
async function fill(at: Target, mark: string, count: number): Promise<void> {
  const batch = Array.from({ length: count }, (_, n) => ({ channel: ROOM, message: `${mark} ${n + 1}` }));
  expect((await call(at, "POST", "/messages", batch)).status).toBe(200);
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
    await one.locator("li.mine", { hasText: greeting }).waitFor();
    expect(await one.locator("li.mine", { hasText: reply }).count()).toBe(0);
  });

  it("shows who said what, and what the server side published apart from that, whatever JSON it is", async () => {
    const page = await open(target().url);
    const mark = crypto.randomUUID();
    await say(page, `said ${mark}`, "Wanda");
    await page.locator("li.message", { hasText: mark }).getByText("Wanda", { exact: true }).waitFor();
    for (const message of [`plain ${mark}`, { mark, n: 1 }, [mark], null]) await publish(target(), ROOM, message);
    for (const json of [`plain ${mark}`, JSON.stringify({ mark, n: 1 }), JSON.stringify([mark])]) {
      await page.locator("li.event", { has: page.getByText(json, { exact: true }) }).waitFor();
    }
    await page
      .locator("li.event", { hasText: `plain ${mark}` })
      .getByText("event", { exact: true })
      .waitFor();
  });

  it("shows an event as the server's only if an API key published it (EVT4)", async () => {
    const page = await open(target().url);
    const mark = crypto.randomUUID();
    await publish(target(), ROOM, `genuine ${mark}`);
    await publishAnonymously(target(), ROOM, `forged ${mark}`);
    await publish(target(), ROOM, { name: "Server", text: `genuine, named ${mark}` });
    await publishAnonymously(target(), ROOM, { name: "Server", text: `forged, named ${mark}` });
    const line = (text: string) =>
      page.locator("#messages li", { has: page.getByText(`${text} ${mark}`, { exact: true }) });
    await line("forged, named").waitFor();
    const shown = async (text: string) => [
      await line(text).locator(".who").textContent(),
      await line(text).locator(".badge").count(),
    ];
    expect(await shown("genuine")).toEqual(["Server", 1]);
    expect(await shown("forged")).toEqual(["Guest", 0]);
    expect(await shown("forged, named")).toEqual(["Server", 0]);
    // Otherwise it would be shown as part of the message above.
    expect(await line("forged, named").evaluate(({ classList }) => classList.contains("follows"))).toBe(false);
  });

  it("shows markup as text", async () => {
    const page = await open(target().url);
    const attack = `<img src=x onerror="document.title='owned'"><b>${crypto.randomUUID()}</b>`;
    await say(page, attack, "<i>Loki</i>");
    await said(page, attack).waitFor();
    expect(await page.locator("#messages img, #messages b, #messages i, #here i").count()).toBe(0);
    expect(await page.title()).not.toContain("owned");
  });

  it("shows who is here, by the names under which they spoke", async () => {
    const [one, two] = [await open(target().url), await open(target().url)];
    for (const page of [one, two]) await page.getByText("2 here", { exact: true }).waitFor();
    await say(two, `me too ${crypto.randomUUID()}`, "Bucky");
    const here = one.getByRole("list", { name: "2 here" });
    await here.getByText("Bucky", { exact: true }).waitFor();
    await here.getByText("you", { exact: true }).waitFor();
    await two.close();
    await one.getByText("1 here", { exact: true }).waitFor();
    expect(await one.locator("#here").getByText("Bucky").count()).toBe(0);
  });

  it("can be used by keyboard alone", async () => {
    const page = await open(target().url);
    const text = `typed ${crypto.randomUUID()}`;
    for (const expected of ["here", "log", "name", "text", "send"]) {
      await page.keyboard.press("Tab");
      expect(await page.evaluate(() => document.activeElement?.id)).toBe(expected);
      if (expected === "name") await page.keyboard.type("Wanda");
      if (expected === "text") {
        await page.keyboard.type(text);
        await page.keyboard.press("Shift+Enter");
        await page.keyboard.type("in two lines");
      }
    }
    await page.keyboard.press("Space");
    await said(page, `${text}\nin two lines`).waitFor();
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("text");
  });

  it("tells a screen reader what is what", async () => {
    const page = await open(target().url);
    await page.getByRole("heading", { level: 1, name: "Marvel chat room" }).waitFor();
    await page.getByRole("status").filter({ hasText: "Online" }).waitFor();
    await page.getByRole("log", { name: "Messages" }).waitFor();
    await page.getByRole("complementary", { name: /^\d+ here$/ }).waitFor();
    await page.getByRole("form", { name: "Send a message" }).waitFor();
    await page.getByRole("button", { name: "Send" }).waitFor();
  });

  it.each((["light", "dark"] as const).flatMap((colorScheme) => [360, 1440].map((width) => ({ colorScheme, width }))))(
    "satisfies WCAG 2.2 AA as far as axe can tell, $colorScheme, $width px wide",
    async ({ colorScheme, width }) => {
      const page = await open(target().url, { colorScheme, viewport: { width, height: 720 } });
      await say(page, `accessible ${crypto.randomUUID()}`);
      await publish(target(), ROOM, "an event");
      await page.locator("li.event").last().waitFor();
      await page.locator("li.mine").last().waitFor();
      await page.evaluate(axe.source);
      const found = await page.evaluate<{ id: string; nodes: { html: string }[] }[]>(
        `axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"] }).then(({ violations }) => violations)`,
      );
      expect(found.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])).toEqual([]);
    },
  );

  it("fits a phone's width", async () => {
    const page = await open(target().url, { viewport: { width: 360, height: 640 } });
    await say(page, `Word${"x".repeat(300)}`);
    await page.locator("#messages").getByText("Wordxxx").last().waitFor();
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    expect(overflow).toBe(0);
    expect(await page.getByRole("button", { name: "Send" }).isVisible()).toBe(true);
  });
});

describe("a room with a past", () => {
  it("loads older messages as one scrolls up, each once and in order, and what is read stays in its place", async () => {
    const mark = crypto.randomUUID();
    await fill(target(), mark, 180);
    const page = await open(target().url);
    await said(page, `${mark} 180`).waitFor();
    expect(await said(page, `${mark} 1`).count()).toBe(0);
    // Before each step the first line in sight is noted; the older ones above it must not move it.
    for (;;) {
      if ((await said(page, `${mark} 1`).count()) > 0) break;
      const moved = await page.evaluate(async () => {
        const log = document.querySelector("#log");
        const first = document.querySelector("#messages li");
        const held = document.querySelectorAll("#messages li").length;
        if (!log || !first) throw new Error("there are no messages");
        log.scrollTop = 100;
        const before = first.getBoundingClientRect().top;
        await new Promise<void>((resolve) => {
          const grown = () => document.querySelectorAll("#messages li").length > held;
          new MutationObserver((_, observer) => {
            if (!grown()) return;
            observer.disconnect();
            resolve();
          }).observe(document, { childList: true, subtree: true });
          if (grown()) resolve();
        });
        return Math.abs(first.getBoundingClientRect().top - before);
      });
      // A line that turns out to go on where an older one left off loses its head, and no more.
      expect(moved).toBeLessThan(40);
    }
    const lines = (await texts(page)).filter((text) => text.startsWith(mark));
    expect(lines).toEqual(Array.from({ length: 180 }, (_, n) => `${mark} ${n + 1}`));
  });

  it("says where older messages could not be loaded, and tries again when asked to", async () => {
    const mark = crypto.randomUUID();
    await fill(target(), mark, 60);
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    await page.route("**/messages?*", (route) => route.abort());
    await page.goto(target().url);
    await page.getByText("could not be loaded").waitFor();
    await page.unroute("**/messages?*");
    await page.getByRole("button", { name: "Try again" }).click();
    await said(page, `${mark} 60`).waitFor();
  });

  it("marks what came while one read further up, and counts it in the title", async () => {
    const mark = crypto.randomUUID();
    await fill(target(), mark, 40);
    const page = await open(target().url);
    await said(page, `${mark} 40`).waitFor();
    await page.locator("#log").evaluate((log) => (log.scrollTop = log.scrollHeight / 2));
    await fill(target(), `new ${mark}`, 2);
    const jump = page.getByRole("button", { name: "2 new messages" });
    await jump.waitFor();
    expect(await page.title()).toMatch(/^\(2\) /);
    expect(await page.locator(".unread + li .said").textContent()).toBe(`new ${mark} 1`);
    await jump.click();
    await jump.waitFor({ state: "hidden" });
    expect(await page.title()).toMatch(/^Marvel/);
    await said(page, `new ${mark} 2`).isVisible();
  });

  it("marks what came while the tab was hidden", async () => {
    const page = await open(target().url);
    const hide = (hidden: boolean) =>
      page.evaluate((value) => {
        Object.defineProperty(document, "hidden", { value, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    await hide(true);
    await publish(target(), ROOM, `unseen ${crypto.randomUUID()}`);
    await expect.poll(() => page.title()).toMatch(/^\(1\) /);
    await hide(false);
    await expect.poll(() => page.title()).toMatch(/^Marvel/);
  });
});

describe("a chat whose server is away, or refuses", () => {
  let server: Server;
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server.remove());

  it("comes back by itself with all that was missed, and sends what waited (RES1)", async () => {
    const page = await open(server.url);
    await say(page, "before");
    await said(page, "before").waitFor();
    await server.kill();
    await page.locator("#status", { hasText: "Offline" }).waitFor();
    await say(page, "said without a connection");
    await onTheirWay(page).getByText("Waiting for a connection…").waitFor();
    await server.run();
    await publish(server, ROOM, "while you were away");
    await page.getByRole("status").filter({ hasText: "you missed nothing" }).waitFor();
    for (const text of ["while you were away", "said without a connection"]) await said(page, text).waitFor();
    expect((await texts(page)).toSorted()).toEqual(["before", "said without a connection", "while you were away"]);
    expect(await onTheirWay(page).getByRole("listitem").count()).toBe(0);
  });

  it("keeps a text that was refused, says why, and sends it again when asked to", async () => {
    const page = await open(server.url);
    const settings = { anonymous_clients: true, presence: true, message_history: 100 };
    const allow = (active: boolean) =>
      call(server, "PUT", `/channels/${ROOM}`, { ...settings, public_messaging: { active } });
    expect((await allow(false)).status).toBe(200);
    await say(page, "do not lose me");
    await onTheirWay(page).getByText("do not lose me").waitFor();
    await onTheirWay(page).getByText("Not sent.").waitFor();
    expect((await allow(true)).status).toBe(200);
    await page.getByRole("button", { name: "Send again" }).click();
    await said(page, "do not lose me").waitFor();
    expect(await onTheirWay(page).getByRole("listitem").count()).toBe(0);
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
