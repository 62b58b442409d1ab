import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, newChannel, newRoom, open as openSocket, publish, target, tokenFor } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { newSettings, open, openChannel, rows } from "./console-support.ts";

const ROOM = "marvel_chat_room";

/** Texts that set `owned` if a page uses them as markup, a URL or code. */
const ATTACKS = [
  `<script>window.owned=1</script>`,
  `<img src=x onerror="window.owned=1">`,
  `<svg onload="window.owned=1"></svg>`,
  `"><iframe srcdoc="<script>parent.owned=1</script>"></iframe>`,
  `<a href="javascript:window.owned=1">On your left</a>`,
  `' onmouseover='window.owned=1' autofocus onfocus='window.owned=1`,
  `</textarea></title></style></script><script>window.owned=1</script>`,
  `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=window.owned=1&gt;">`,
  `{{constructor.constructor("window.owned=1")()}}\${window.owned=1}`,
];

/** What an attack adds to a page that takes it for markup. */
const MARKUP =
  "script, iframe, math, mglyph, [onerror], [onload], [onmouseover], [onfocus], [src=x], a[href^='javascript:' i]";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

/** Performs an attack on a page, which must show its text and have no more elements of these kinds than before. */
async function expectText(page: Page, attack: () => Promise<unknown>): Promise<void> {
  const before = await page.locator(MARKUP).count();
  await attack();
  expect(await page.locator(MARKUP).count()).toBe(before);
  expect(await page.evaluate(() => (globalThis as { owned?: unknown }).owned)).toBeUndefined();
}

describe("markup in messages, names and settings is text", () => {
  it("in the chat: as a message, as a name, as an event's key, and in the history after a reload", async () => {
    const page = await browser.newPage();
    const online = page.locator("#status", { hasText: /^Online/ });
    const mark = crypto.randomUUID();
    const shown = page.locator("#messages li").filter({ hasText: mark });
    const areAllShown = () => shown.nth(2 * ATTACKS.length - 1).waitFor();
    await page.goto(target().url);
    await online.waitFor();
    const anonymousClient = await openSocket(target(), `/channels/${ROOM}/socket`);
    anonymousClient.send({ action: "join" });
    await expectText(page, async () => {
      for (const text of ATTACKS) {
        anonymousClient.send({ action: "message", payload: { name: text, text: `${text} ${mark}` } });
        await shown.filter({ hasText: text }).first().waitFor();
        await publish(target(), ROOM, { [text]: [text, mark] });
      }
      await areAllShown();
    });
    await page.reload();
    await online.waitFor();
    await expectText(page, areAllShown);
    anonymousClient.socket.close();
    await page.close();
  });

  it("in the console's live view and in its history", async () => {
    const channel = await newRoom(target());
    const live = await openChannel(browser, channel, "live");
    await expectText(live, async () => {
      for (const text of ATTACKS) {
        await publish(target(), channel, text);
        await publish(target(), channel, { [text]: text });
      }
      await rows(live)
        .nth(2 * ATTACKS.length - 1)
        .waitFor();
    });
    const history = await openChannel(browser, channel, "history");
    await expectText(history, async () => {
      await history.getByLabel("Text", { exact: true }).fill("window.owned");
      await history.getByRole("button", { name: "Search" }).click();
      await history.getByText(/messages, no older ones\./).waitFor();
    });
    expect(await rows(history).count()).toBeGreaterThan(ATTACKS.length);
  });

  it("in the console's presence, as a user's id and extras", async () => {
    const channel = newChannel();
    const { database } = await tokenFor(target(), channel, 1);
    const page = await openChannel(browser, channel, "presence");
    await page.getByText("Nobody is here").waitFor();
    const id = "<img/src=x/onerror=window.owned=1>";
    await expectText(page, async () => {
      for (const text of ATTACKS) {
        const user = { id, extras: { name: text, [text]: text } };
        const answer = await call(target(), "POST", `/databases/${database}/tokens`, user);
        const { token } = (await answer.json()) as { token: string };
        const path = `/channels/${encodeURIComponent(channel)}/socket`;
        const socket = await openSocket(target(), path, { Authorization: `Bearer ${token}` });
        socket.send({ action: "join" });
      }
      await page.getByText(`${ATTACKS.length} members are here.`).waitFor();
    });
    const shown = (await page.getByRole("row").allTextContents()).join();
    for (const text of ATTACKS) expect(shown).toContain(JSON.stringify(text));
    expect(shown.split(id)).toHaveLength(ATTACKS.length + 1);
  });

  it("in the console's settings, as a description", async () => {
    const text = ATTACKS.join(" ").slice(0, 500);
    const channel = await newSettings({ description: text });
    const page = await open(browser, `#/channels/${encodeURIComponent(channel)}/settings`);
    const description = page.getByLabel("Description");
    await expectText(page, () => expect.poll(() => description.inputValue(), { timeout: 60_000 }).toBe(text));
  });
});
