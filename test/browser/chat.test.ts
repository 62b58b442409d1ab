import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launch } from "../support/chromium.ts";
import { Server, START_TIMEOUT_MS } from "../support/server.ts";
import { FaultyProxy } from "../support/faulty-proxy.ts";
import { call, newChannel, publish, publishAnonymously, target, type Target, tokenFor } from "../e2e/support.ts";

const ROOM = "marvel_chat_room";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

interface View {
  viewport?: { width: number; height: number };
  colorScheme?: "light" | "dark";
}

/** Opens the chat in a tab and waits until it is online. Closes the tab at the end of the test. An error in the page fails the test. */
async function open(url: string, { viewport = { width: 1000, height: 700 }, colorScheme }: View = {}): Promise<Page> {
  const page = await browser.newPage({ viewport, ...(colorScheme && { colorScheme }) });
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  onTestFinished(async () => {
    await page.close();
    // Some tests make the network fail.
    expect(errors.filter((text) => !text.includes("net::ERR_"))).toEqual([]);
  });
  await page.goto(url);
  await online(page);
  return page;
}

const online = (page: Page) => page.locator("#status", { hasText: /^Online/ }).waitFor();
const shown = (page: Page, text: string) => page.locator("#messages").getByText(text, { exact: true });
const pending = (page: Page) => page.getByRole("list", { name: "Being sent" });
const focused = (page: Page) => page.evaluate(() => document.activeElement?.id);
const texts = (page: Page) => page.locator("#messages .content").allTextContents();

async function say(page: Page, text: string, name = "Carol"): Promise<void> {
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

/** Publishes `count` events with the API key: `mark 1`, `mark 2` and so on. */
async function fill(at: Target, mark: string, count: number): Promise<void> {
  const batch = Array.from({ length: count }, (_, n) => ({ channel: ROOM, message: `${mark} ${n + 1}` }));
  expect((await call(at, "POST", "/messages", batch)).status).toBe(200);
}

describe("the chat page", () => {
  it("shows a message in every tab, and the history after a reload", async () => {
    const { url } = target();
    const [one, two] = [await open(url), await open(url)];
    const greeting = `Higher, further, faster ${crypto.randomUUID()}`;
    const reply = `On your left ${crypto.randomUUID()}`;
    await say(one, greeting);
    await shown(two, greeting).waitFor();
    await say(two, reply, "Sam");
    for (const page of [one, two]) await shown(page, reply).waitFor();
    expect(await texts(one)).toEqual(await texts(two));

    await one.reload();
    await online(one);
    await shown(one, reply).waitFor();
    expect(await texts(one)).toEqual(await texts(two));
    await one.locator("li.mine", { hasText: greeting }).waitFor();
    expect(await one.locator("li.mine", { hasText: reply }).count()).toBe(0);
  });

  it("shows the sender of each message, and any JSON that an API key publishes as an event", async () => {
    const page = await open(target().url);
    const mark = crypto.randomUUID();
    await say(page, `text ${mark}`, "Wanda");
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

  it("shows an event as the backend's only if an API key published it (EVT4)", async () => {
    const page = await open(target().url);
    const mark = crypto.randomUUID();
    await publish(target(), ROOM, `genuine ${mark}`);
    await publishAnonymously(target(), ROOM, `forged ${mark}`);
    await publish(target(), ROOM, { name: "Server", text: `genuine, named ${mark}` });
    await publishAnonymously(target(), ROOM, { name: "Server", text: `forged, named ${mark}` });
    const line = (text: string) =>
      page.locator("#messages li", { has: page.getByText(`${text} ${mark}`, { exact: true }) });
    await line("forged, named").waitFor();
    const lineOf = async (text: string) => [
      await line(text).locator(".who").textContent(),
      await line(text).locator(".badge").count(),
    ];
    expect(await lineOf("genuine")).toEqual(["Server", 1]);
    expect(await lineOf("forged")).toEqual(["Guest", 0]);
    expect(await lineOf("forged, named")).toEqual(["Server", 0]);
    // Otherwise it would be shown as part of the message above.
    expect(await line("forged, named").evaluate(({ classList }) => classList.contains("follows"))).toBe(false);
  });

  it("shows markup as text", async () => {
    const page = await open(target().url);
    const attack = `<img src=x onerror="document.title='owned'"><b>${crypto.randomUUID()}</b>`;
    await say(page, attack, "<i>Loki</i>");
    await shown(page, attack).waitFor();
    expect(await page.locator("#messages img, #messages b, #messages i, #members i").count()).toBe(0);
    expect(await page.title()).not.toContain("owned");
  });

  it("lists the members with the names from their messages", { timeout: START_TIMEOUT_MS }, async () => {
    // Other test files open the room on the shared server.
    const server = await Server.start();
    onTestFinished(() => server.remove());
    const [one, two] = [await open(server.url), await open(server.url)];
    for (const page of [one, two]) await page.getByText("2 here", { exact: true }).waitFor();
    await say(two, `me too ${crypto.randomUUID()}`, "Bucky");
    const members = one.getByRole("list", { name: "2 here" });
    await members.getByText("Bucky", { exact: true }).waitFor();
    await members.getByText("you", { exact: true }).waitFor();
    await two.close();
    await one.getByText("1 here", { exact: true }).waitFor();
    expect(await one.locator("#members").getByText("Bucky").count()).toBe(0);
  });

  it("can be used by keyboard alone", async () => {
    const page = await open(target().url);
    const text = `typed ${crypto.randomUUID()}`;
    for (const expected of ["log", "members"]) {
      await page.keyboard.press("Shift+Tab");
      expect(await focused(page)).toBe(expected);
    }
    for (const expected of ["log", "name", "text", "send"]) {
      await page.keyboard.press("Tab");
      expect(await focused(page)).toBe(expected);
      if (expected === "name") await page.keyboard.type("Wanda");
      if (expected === "text") {
        await page.keyboard.type(text);
        await page.keyboard.press("Shift+Enter");
        await page.keyboard.type("in two lines");
      }
    }
    await page.keyboard.press("Space");
    await shown(page, `${text}\nin two lines`).waitFor();
    await expect.poll(() => focused(page)).toBe("text");
  });

  it("focuses the name field on the first visit, and the message field once a name is stored", async () => {
    const page = await open(target().url);
    expect(await focused(page)).toBe("name");
    await page.keyboard.type("Wanda");
    await page.keyboard.press("Tab");
    await page.keyboard.type(`first ${crypto.randomUUID()}`);
    await page.keyboard.press("Enter");
    await page.reload();
    await online(page);
    expect(await focused(page)).toBe("text");
  });

  it("writes each name and text in its own direction", async () => {
    const page = await open(target().url);
    const mark = crypto.randomUUID();
    await say(page, `\u05e9\u05dc\u05d5\u05dd ${mark}`, "\u05d3\u05d5\u05d3");
    await say(page, `hello ${mark}`, "Carol");
    await publish(target(), ROOM, { name: "\u0633\u0627\u0631\u0629", text: `\u0645\u0631\u062d\u0628\u0627 ${mark}` });
    const lines = page.locator("#messages li:not(.unread)", { hasText: mark });
    await expect.poll(() => lines.count()).toBe(3);
    const directions = (part: string) =>
      lines.locator(part).evaluateAll((nodes) => nodes.map((node) => getComputedStyle(node).direction));
    expect(await directions(".content")).toEqual(["rtl", "ltr", "rtl"]);
    expect(await directions(".who")).toEqual(["rtl", "ltr", "rtl"]);
    await page.getByLabel("Message", { exact: true }).fill("\u05e9\u05dc\u05d5\u05dd");
    expect(await page.locator("#text").evaluate((node) => getComputedStyle(node).direction)).toBe("rtl");
  });

  it.each([360, 1000])("shortens long names, %i px wide", async (width) => {
    const page = await open(target().url, { viewport: { width, height: 640 } });
    const mark = crypto.randomUUID();
    const name = "N".repeat(2_000);
    await publish(target(), ROOM, { name, text: `from the server ${mark}` });
    await publishAnonymously(target(), ROOM, { name, text: `from a guest ${mark}` });
    const lines = page.locator("#messages li:not(.unread)", { hasText: mark });
    await expect.poll(() => lines.count()).toBe(2);
    const overflow = await page.locator("#log").evaluate((log) => log.scrollWidth - log.clientWidth);
    expect(overflow).toBe(0);
    for (const time of await lines.locator("time").all()) {
      const { x = 0, width: own = 0 } = (await time.boundingBox()) ?? {};
      expect(x + own, "the time beside the name is in sight").toBeLessThanOrEqual(width);
    }
  });

  it("names its parts for screen readers", async () => {
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
  it("loads older messages when the reader scrolls up, each once and in order, without moving the messages in sight", async () => {
    const mark = crypto.randomUUID();
    await fill(target(), mark, 180);
    const page = await open(target().url);
    await shown(page, `${mark} 180`).waitFor();
    expect(await shown(page, `${mark} 1`).count()).toBe(0);
    // Before each step the first line in sight is noted; the older ones above it must not move it.
    for (;;) {
      if ((await shown(page, `${mark} 1`).count()) > 0) break;
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
      // A line that continues an older message's group only loses its name line.
      expect(moved).toBeLessThan(40);
    }
    const lines = (await texts(page)).filter((text) => text.startsWith(mark));
    expect(lines).toEqual(Array.from({ length: 180 }, (_, n) => `${mark} ${n + 1}`));
  });

  it("says that older messages could not be loaded, and loads them when the reader clicks Try again", async () => {
    const mark = crypto.randomUUID();
    await fill(target(), mark, 60);
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    await page.route("**/messages?*", (route) => route.abort());
    await page.goto(target().url);
    await page.getByText("could not be loaded").waitFor();
    await page.unroute("**/messages?*");
    await page.getByRole("button", { name: "Try again" }).click();
    await shown(page, `${mark} 60`).waitFor();
  });

  it("marks messages that arrive while the reader is further up, and counts them in the title", async () => {
    const mark = crypto.randomUUID();
    await fill(target(), mark, 40);
    const page = await open(target().url);
    await shown(page, `${mark} 40`).waitFor();
    await page.locator("#log").evaluate((log) => (log.scrollTop = log.scrollHeight / 2));
    await fill(target(), `new ${mark}`, 2);
    const jump = page.getByRole("button", { name: "2 new messages" });
    await jump.waitFor();
    expect(await page.title()).toMatch(/^\(2\) /);
    expect(await page.locator(".unread + li .content").textContent()).toBe(`new ${mark} 1`);
    await jump.click();
    await jump.waitFor({ state: "hidden" });
    expect(await page.title()).toMatch(/^Marvel/);
    await shown(page, `new ${mark} 2`).isVisible();
  });

  it("counts messages that arrive while the tab is hidden", async () => {
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

// FaultyProxy can only break plain HTTP.
describe.runIf(target().url.startsWith("http://"))("the chat page without a network", () => {
  // Far less than the regular heartbeat needs to notice it, and than the longest pauses between attempts.
  const soon = { timeout: 10_000 };

  it("shows offline, then online, and each message once; twice in a row", async () => {
    const proxy = await FaultyProxy.to(target().url);
    onTestFinished(() => proxy.close());
    const page = await open(proxy.url);
    const status = page.locator("#status");
    const lines: string[] = [];
    for (const round of [1, 2]) {
      const published = `published meanwhile ${round} ${crypto.randomUUID()}`;
      const spoken = `sent meanwhile ${round} ${crypto.randomUUID()}`;
      // Chromium's emulation fires the events and fails requests; the proxy makes the open connection silent.
      await page.context().setOffline(true);
      proxy.hold();
      await status.filter({ hasText: /^Offline/ }).waitFor(soon);
      await publish(target(), ROOM, published);
      await say(page, spoken);
      await pending(page).getByText("Waiting for a connection…").waitFor();
      proxy.abandon();
      await page.context().setOffline(false);
      await status.filter({ hasText: /^Online/ }).waitFor(soon);
      for (const text of [published, spoken]) await shown(page, text).waitFor();
      lines.push(published, spoken);
    }
    expect((await texts(page)).filter((text) => text.includes("meanwhile"))).toEqual(lines);
    await expect.poll(() => pending(page).getByRole("listitem").count()).toBe(0);
  });

  it("loses no message and keeps its connection when the network is lost for a moment; twice in a row", async () => {
    const proxy = await FaultyProxy.to(target().url);
    onTestFinished(() => proxy.close());
    const page = await open(proxy.url);
    let sockets = 0;
    page.on("websocket", () => (sockets += 1));
    const fire = (type: string) => page.evaluate((name) => void window.dispatchEvent(new Event(name)), type);
    const lines: string[] = [];
    for (const round of [1, 2]) {
      const [text, mark] = [`a moment ${round}`, crypto.randomUUID()];
      proxy.hold();
      await fire("offline");
      await say(page, `${text} ${mark}`);
      await fire("online");
      proxy.release();
      await shown(page, `${text} ${mark}`).waitFor();
      await page.locator("#status", { hasText: /^Online/ }).waitFor();
      lines.push(`${text} ${mark}`);
    }
    expect((await texts(page)).filter((line) => line.startsWith("a moment"))).toEqual(lines);
    expect(sockets).toBe(0);
  });
});

describe("the chat page without a server, or with one that refuses", () => {
  let server: Server;
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server.remove());

  it("reconnects, shows all missed messages, and sends the messages that waited (RES1)", async () => {
    const page = await open(server.url);
    await say(page, "before");
    await shown(page, "before").waitFor();
    await server.kill();
    await page.locator("#status", { hasText: "Offline" }).waitFor();
    await say(page, "sent without a connection");
    await pending(page).getByText("Waiting for a connection…").waitFor();
    await server.run();
    await publish(server, ROOM, "while you were away");
    await page.getByRole("status").filter({ hasText: "you missed nothing" }).waitFor();
    for (const text of ["while you were away", "sent without a connection"]) await shown(page, text).waitFor();
    expect((await texts(page)).toSorted()).toEqual(["before", "sent without a connection", "while you were away"]);
    expect(await pending(page).getByRole("listitem").count()).toBe(0);
  });

  it("keeps a refused message, says why, and sends it again when the user clicks Send again", async () => {
    const page = await open(server.url);
    const settings = { anonymous_clients: true, presence: true, message_history: 100 };
    const allow = (active: boolean) =>
      call(server, "PUT", `/channels/${ROOM}`, { ...settings, public_messaging: { active } });
    expect((await allow(false)).status).toBe(200);
    await say(page, "do not lose me");
    await pending(page).getByText("do not lose me").waitFor();
    await pending(page).getByText("Not sent.").waitFor();
    expect((await allow(true)).status).toBe(200);
    await page.getByRole("button", { name: "Send again" }).click();
    await shown(page, "do not lose me").waitFor();
    expect(await pending(page).getByRole("listitem").count()).toBe(0);
  });
});

describe("a page's own WebSocket", () => {
  it.each([[(token: string) => [token]], [(token: string) => ["durable-channels.v1", token]]])(
    "sends a token as subprotocol, and the browser keeps the connection (AUT4, CON5)",
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
