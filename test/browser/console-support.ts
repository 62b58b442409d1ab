import type { Browser, Locator, Page } from "playwright-core";
import { expect, onTestFinished } from "vitest";
import { call, newChannel, target } from "../e2e/support.ts";

interface View {
  width?: number;
  colorScheme?: "light" | "dark";
}

/** Opens the console's sign-in page in a tab. Closes the tab at the end of the test. An error in the page fails the test. */
export async function openSignIn(browser: Browser, { width = 1440, colorScheme = "light" }: View = {}): Promise<Page> {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  onTestFinished(async () => {
    await page.close();
    // Some tests make requests that the server refuses.
    expect(errors.filter((text) => !text.includes("the server responded with a status of 4"))).toEqual([]);
  });
  await page.goto(`${target().url}/console`);
  return page;
}

export async function signIn(page: Page, key = target().apiKey): Promise<void> {
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
}

/** Signs in to the console, and opens one of its pages. */
export async function open(browser: Browser, hash: string, view: View = {}): Promise<Page> {
  const page = await openSignIn(browser, view);
  await signIn(page);
  await page.getByRole("heading", { level: 1, name: "Channels" }).waitFor();
  await page.goto(`${target().url}/console${hash}`);
  return page;
}

/** Opens a view of a channel in the console, and waits until it is connected. */
export async function openChannel(browser: Browser, channel: string, tab: string, view: View = {}): Promise<Page> {
  const page = await open(browser, `#/channels/${encodeURIComponent(channel)}/${tab}`, view);
  await page.getByRole("status").filter({ hasText: "Online" }).waitFor();
  return page;
}

/** Creates a channel with these settings for the test. Returns its name. */
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

/** Creates an auth database for the test. Returns its name. */
export async function newDatabase(): Promise<string> {
  const name = `console-${crypto.randomUUID()}`;
  const config = { dbo_id: Math.floor(Math.random() * 2 ** 40) + 1, secret: "AUTH_SECRET", extras_claim: "extras" };
  const answer = await call(target(), "PUT", `/databases/${name}`, config);
  if (!answer.ok) throw new Error(await answer.text());
  return name;
}

/** The visible rows of frames or found messages. */
export function rows(page: Page) {
  return page.locator(".frames:visible > li");
}

/** Returns the description of a control: its hint or its error. */
export function describedBy(control: Locator): Promise<string> {
  return control.evaluate((element) => {
    return document.getElementById(element.getAttribute("aria-describedby") ?? "")?.textContent ?? "";
  });
}

/** Makes the page believe that its tab is hidden, or visible again. */
export async function setHidden(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}
