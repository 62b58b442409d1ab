import axe, { type AxeResults } from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newChannel, publish, target, tokenFor } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { atTheDoor, newSettings, open, openChannel, rows, settingsOf } from "./console-support.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

const WIDTHS = [360, 1440];
const SCHEMES = ["light", "dark"] as const;
const everywhere = SCHEMES.flatMap((colorScheme) => WIDTHS.map((width) => ({ colorScheme, width })));

/** What breaks WCAG 2.2, level AA, on the page as it is now. */
async function violationsOn(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(async () => {
    const { axe: checker } = window as unknown as { axe: { run: (options: object) => Promise<AxeResults> } };
    return checker.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
  });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
  );
}

/** How far the page is wider than the window. */
const overflowOf = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

async function expectAccessible(page: Page): Promise<void> {
  expect(await violationsOn(page)).toEqual([]);
  expect(await overflowOf(page)).toBe(0);
}

describe.each(everywhere)("the console, $colorScheme and $width pixels wide, keeps WCAG AA and its width", (view) => {
  it("at the door, also when a key was refused", async () => {
    const page = await atTheDoor(browser, view);
    await expectAccessible(page);
    await page.getByLabel("API key").fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByRole("alert").filter({ hasText: "not valid" }).waitFor();
    await expectAccessible(page);
  });

  it("in the list of channels", async () => {
    await newSettings({ description: "x".repeat(200), message_history: 100, presence: true });
    const page = await open(browser, "", view);
    await page.getByText("xxxxx").first().waitFor();
    await expectAccessible(page);
  });

  it("in settings, with a mistake, and when it asks before deleting", async () => {
    const page = await open(browser, "#/new", view);
    await page.getByLabel("Channel or pattern").fill("room//42");
    await page.getByRole("button", { name: "Save" }).click();
    await page.locator("[aria-invalid=true]").waitFor();
    await expectAccessible(page);
    await page.goto(`${target().url}/console#/channels/${encodeURIComponent(await newSettings({}))}/settings`);
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("dialog").waitFor();
    await expectAccessible(page);
  });

  it("in the live view, with a frame opened, and in history", async () => {
    const channel = newChannel();
    await publish(target(), channel, { text: "word".repeat(200), list: [1, 2, 3] });
    const page = await openChannel(browser, channel, "live", view);
    await rows(page).first().locator("summary").click();
    await expectAccessible(page);
    await page.getByRole("link", { name: "History" }).click();
    await page.getByRole("button", { name: "Search" }).click();
    await rows(page).first().waitFor();
    await expectAccessible(page);
  });

  it("in the presence view", async () => {
    const { channel, token } = await tokenFor(target(), newChannel(), 42, { name: "Carol" });
    const page = await openChannel(browser, channel, "presence", view);
    await page.evaluate(
      ([path, offered]) => {
        const socket = new WebSocket(path ?? "", ["durable-channels.v1", offered ?? ""]);
        socket.addEventListener("open", () => socket.send('{"action":"join"}'));
      },
      [`/channels/${encodeURIComponent(channel)}/socket`, token],
    );
    await page.getByRole("row").filter({ hasText: "Carol" }).waitFor();
    await expectAccessible(page);
  });

  it("in the publish view, with a mistake, and with its answer", async () => {
    const page = await openChannel(browser, newChannel(), "publish", view);
    await page.getByLabel("Message", { exact: true }).fill("{,}");
    await expectAccessible(page);
    await page.getByLabel("Message", { exact: true }).fill("{}");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText("Stored as #1").waitFor();
    await expectAccessible(page);
  });

  it("in the stats view, with a table opened", async () => {
    const channel = newChannel();
    await publish(target(), channel, 1);
    const page = await openChannel(browser, channel, "stats", view);
    await page.getByText("As a table").first().click();
    await expectAccessible(page);
  });
});

describe("the console by keyboard alone", () => {
  /** Moves the focus on until it is on what has this name. */
  async function tabTo(page: Page, name: string): Promise<void> {
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press("Tab");
      if ((await focused(page)) === name) return;
    }
    throw new Error(`the focus never came to ${name}`);
  }

  const focused = (page: Page) =>
    page.evaluate(() => {
      const element = document.activeElement;
      const label =
        element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement ? element.labels : null;
      return (label?.[0] ?? element)?.textContent?.trim() ?? "";
    });

  it("leads from the door to a new channel's settings, a message published and read, and out again", async () => {
    const channel = newChannel();
    const page = await atTheDoor(browser);
    await expect.poll(() => focused(page)).toBe("API key");
    await page.keyboard.type(target().apiKey);
    await page.keyboard.press("Enter");
    await expect.poll(() => focused(page)).toBe("Channels");

    await tabTo(page, "New settings");
    await page.keyboard.press("Enter");
    await expect.poll(() => focused(page)).toBe("New channel settings");
    await tabTo(page, "Channel or pattern");
    await page.keyboard.type(channel);
    await tabTo(page, "Presence");
    await page.keyboard.press("Space");
    await page.keyboard.press("Enter");
    await expect.poll(() => focused(page)).toBe(channel);
    expect(await settingsOf(channel)).toMatchObject({ presence: true });

    await tabTo(page, "Publish");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: channel }).waitFor();
    await tabTo(page, "Message");
    await page.keyboard.press("Control+A");
    await page.keyboard.type('"typed"');
    await tabTo(page, "Publish");
    await page.keyboard.press("Space");
    await page.getByRole("status").filter({ hasText: "Stored as #1" }).waitFor();

    await page.getByRole("link", { name: "Live" }).focus();
    await page.keyboard.press("Enter");
    await rows(page).filter({ hasText: "typed" }).locator("summary").focus();
    await page.keyboard.press("Enter");
    await rows(page).filter({ hasText: '"action": "event"' }).waitFor();

    await page.getByRole("button", { name: "Sign out" }).focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("API key").waitFor();
  });
});
