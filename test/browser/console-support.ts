import type { Browser, Locator, Page } from "playwright-core";
import { expect, onTestFinished } from "vitest";
import { call, newChannel, target } from "../e2e/support.ts";

interface View {
  width?: number;
  colorScheme?: "light" | "dark";
}

/** A tab at the console's door, closed with its test; what goes wrong in it fails the test. */
export async function atTheDoor(browser: Browser, { width = 1440, colorScheme = "light" }: View = {}): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  onTestFinished(async () => {
    await page.close();
    // What the server refuses is what some tests are about.
    expect(errors.filter((text) => !text.includes("the server responded with a status of 4"))).toEqual([]);
  });
  await page.goto(`${target().url}/console`);
  return page;
}

export async function signIn(page: Page, key = target().apiKey): Promise<void> {
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** A tab signed in, at one of the console's addresses. */
export async function open(browser: Browser, hash: string, view: View = {}): Promise<Page> {
  const page = await atTheDoor(browser, view);
  await signIn(page);
  await page.getByRole("heading", { level: 1, name: "Channels" }).waitFor();
  await page.goto(`${target().url}/console${hash}`);
  return page;
}

/** A tab at a view of a channel, once it is connected. */
export async function openChannel(browser: Browser, channel: string, tab: string, view: View = {}): Promise<Page> {
  const page = await open(browser, `#/channels/${encodeURIComponent(channel)}/${tab}`, view);
  await page.getByRole("status").filter({ hasText: "Online" }).waitFor();
  return page;
}

/** A channel of the test's own with these settings. */
export async function newSettings(settings: object): Promise<string> {
  const channel = newChannel();
  const answer = await call(target(), "PUT", `/channels/${encodeURIComponent(channel)}`, settings);
  if (!answer.ok) throw new Error(await answer.text());
  return channel;
}

export async function settingsOf(channel: string): Promise<unknown> {
  const answer = await call(target(), "GET", `/channels/${encodeURIComponent(channel)}`);
  return answer.ok ? ((await answer.json()) as { settings: unknown }).settings : answer.status;
}

/** An auth database of the test's own. */
export async function newDatabase(): Promise<string> {
  const name = `console-${crypto.randomUUID()}`;
  const config = { dbo_id: Math.floor(Math.random() * 2 ** 40) + 1, secret: "AUTH_SECRET", extras_claim: "extras" };
  const answer = await call(target(), "PUT", `/databases/${name}`, config);
  if (!answer.ok) throw new Error(await answer.text());
  return name;
}

/** The lines of the frames, or of the messages found, that can be seen. */
export function rows(page: Page) {
  return page.locator(".frames:visible > li");
}

/** What is said about a control: its hint, or what is wrong with it. */
export function describedBy(control: Locator): Promise<string> {
  return control.evaluate((element) => {
    return document.getElementById(element.getAttribute("aria-describedby") ?? "")?.textContent ?? "";
  });
}

/** Makes the page believe that its tab is, or is no longer, behind another one. */
export async function setHidden(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}
