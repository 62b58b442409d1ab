import axe, { type AxeResults } from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newChannel, publish, target, tokenFor } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { openSignIn, newSettings, open, openChannel, rows, settingsOf } from "./console-support.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

const WIDTHS = [360, 1440];
const SCHEMES = ["light", "dark"] as const;
const everywhere = SCHEMES.flatMap((colorScheme) => WIDTHS.map((width) => ({ colorScheme, width })));

/** Returns the violations of WCAG 2.2, level AA, on the page. */
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

/** Returns by how many pixels the page is wider than the window. */
const overflowOf = (page: Page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

async function expectAccessible(page: Page): Promise<void> {
  expect(await violationsOn(page)).toEqual([]);
  expect(await overflowOf(page)).toBe(0);
}

describe.each(everywhere)(
  "the console, $colorScheme and $width pixels wide, meets WCAG AA and does not overflow",
  (view) => {
    it("on the sign-in page, also after a refused key", async () => {
      const page = await openSignIn(browser, view);
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

    it("in the settings, also with an error and with the question before deleting", async () => {
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

    it("in the live view with an open frame, and in the history view", async () => {
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

    it("in the publish view, with an error and with an answer", async () => {
      const page = await openChannel(browser, newChannel(), "publish", view);
      await page.getByLabel("Message", { exact: true }).fill("{,}");
      await expectAccessible(page);
      await page.getByLabel("Message", { exact: true }).fill("{}");
      await page.getByRole("button", { name: "Publish" }).click();
      await page.getByText("Stored as #1").waitFor();
      await expectAccessible(page);
    });

    it("in the stats view with an open table", async () => {
      const channel = newChannel();
      await publish(target(), channel, 1);
      const page = await openChannel(browser, channel, "stats", view);
      await page.getByText("As a table").first().click();
      await expectAccessible(page);
    });
  },
);

describe("the console with the keyboard only", () => {
  /** Presses Tab until the element with this name has the focus. */
  async function tabTo(page: Page, name: string): Promise<void> {
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press("Tab");
      if ((await focused(page)) === name) return;
    }
    throw new Error(`the focus never reached ${name}`);
  }

  const focused = (page: Page) =>
    page.evaluate(() => {
      const element = document.activeElement;
      const label =
        element instanceof HTMLInputElement || element instanceof HTMLTextAreaElement ? element.labels : null;
      return (label?.[0] ?? element)?.textContent?.trim() ?? "";
    });

  it("lets a user sign in, create settings, publish and read a message, and sign out", async () => {
    const channel = newChannel();
    const page = await openSignIn(browser);
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
