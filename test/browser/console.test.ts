import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, join, newChannel, newRoom, publish, publishAnonymously, target, tokenFor } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import {
  openSignIn,
  describedBy,
  newDatabase,
  newSettings,
  open,
  openChannel,
  rows,
  setHidden,
  settingsOf,
  signIn,
} from "./console-support.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

const publishAll = async (channel: string, messages: unknown[]) => {
  const answer = await call(
    target(),
    "POST",
    "/messages",
    messages.map((message) => ({ channel, message })),
  );
  if (!answer.ok) throw new Error(await answer.text());
};

describe("signing in to the console", () => {
  it.each([
    ["wrong-key", "The API key is not valid."],
    ["clé", "An API key contains visible ASCII characters only: no spaces, no accents."],
  ])("says why a key is not accepted: %s", async (key, words) => {
    const page = await openSignIn(browser);
    await signIn(page, key);
    await page.getByRole("alert").getByText(words, { exact: true }).waitFor();
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  });

  it("keeps the key only in this tab's session, shows it nowhere, and forgets it on sign-out", async () => {
    const { apiKey } = target();
    const page = await open(browser, "");
    await page.reload();
    await page.getByRole("heading", { name: "Channels" }).waitFor();
    expect(await page.evaluate(() => [JSON.stringify(localStorage), document.cookie])).toEqual(["{}", ""]);
    expect(await page.evaluate(() => Object.values(sessionStorage))).toEqual([apiKey]);
    expect((await page.content()) + page.url()).not.toContain(apiKey);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("API key").waitFor();
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  });

  it("is required again if the server no longer accepts the key", async () => {
    const page = await openSignIn(browser);
    await page.evaluate(() => sessionStorage.setItem("api-key", "revoked"));
    await page.reload();
    await page.getByRole("alert").filter({ hasText: "no longer valid" }).waitFor();
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  });
});

describe("channels and their settings", () => {
  it("are listed page by page with their descriptions", async () => {
    const prefix = `A${crypto.randomUUID()}`;
    const names = Array.from({ length: 60 }, (_, index) => `${prefix}/${String(index).padStart(2, "0")}`);
    await Promise.all(
      names.map((name) =>
        call(target(), "PUT", `/channels/${encodeURIComponent(name)}`, { description: `about ${name}` }),
      ),
    );
    const page = await open(browser, "");
    const list = page.getByRole("list", { name: "Channels with settings" }).getByRole("link");
    await list.nth(49).waitFor();
    while (await page.getByRole("button", { name: "More channels" }).isVisible()) {
      const before = await list.count();
      await page.getByRole("button", { name: "More channels" }).click();
      await list.nth(before).waitFor();
    }
    const shown = await list.allTextContents();
    expect(shown.filter((name) => name.startsWith(prefix))).toEqual(names);
    await page.getByText(`about ${names[59]}`).waitFor();
    await Promise.all(names.map((name) => call(target(), "DELETE", `/channels/${encodeURIComponent(name)}`)));
  });

  it("can be created with every setting", async () => {
    const database = await newDatabase();
    const channel = newChannel();
    const page = await open(browser, "#/new");
    await page.getByLabel("Channel or pattern").fill(channel);
    await page.getByLabel("Description").fill("Made in the console");
    for (const label of ["Anonymous clients", "Nested channels", "Presence", "Authenticated receivers only"]) {
      await page.getByLabel(label).check();
    }
    await page.getByLabel("Active").uncheck();
    for (const label of ["Messages to the channel", "… authenticated clients only"])
      await page.getByLabel(label).check();
    for (const label of ["Private messages", "… between authenticated clients"]) await page.getByLabel(label).check();
    await page.getByLabel("Message history").selectOption("250");
    await page.getByLabel("Daily anonymous quota").selectOption("16 MiB");
    await page.getByLabel("Auth database").selectOption(database);
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("heading", { level: 1, name: channel }).waitFor();
    expect(await settingsOf(channel)).toEqual({
      active: false,
      description: "Made in the console",
      anonymous_clients: true,
      presence: true,
      message_history: 250,
      public_messaging: { active: true, auth: true },
      private_messaging: { active: true, auth: true },
      nested_channels: true,
      auth_channel: true,
      anonymous_bytes_per_day: 16 * 1024 ** 2,
      database,
    });
  });

  it("can be created for a pattern, whose page shows only its settings", async () => {
    const pattern = `${newChannel()}/*`;
    const page = await open(browser, "#/new");
    await page.getByLabel("Channel or pattern").fill(pattern);
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("heading", { level: 1, name: pattern }).waitFor();
    expect(await settingsOf(pattern)).toMatchObject({ active: true, message_history: 0 });
    expect(await page.getByRole("navigation").count()).toBe(0);
  });

  it("are shown and can be changed", async () => {
    const channel = await newSettings({ presence: true, message_history: 25 });
    const page = await openChannel(browser, channel, "settings");
    await expect.poll(() => page.getByRole("checkbox", { name: "Presence" }).isChecked()).toBe(true);
    expect(await page.getByLabel("Message history").inputValue()).toBe("25");
    await page.getByRole("checkbox", { name: "Presence" }).uncheck();
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByRole("status").filter({ hasText: "Saved" }).waitFor();
    expect(await settingsOf(channel)).toMatchObject({ presence: false, message_history: 25 });
  });

  it("show the server's error at the wrong field (ERR1)", async () => {
    const database = await newDatabase();
    const page = await open(browser, "#/new");
    await page.getByLabel("Channel or pattern").fill("room//42");
    await page.getByLabel("Auth database").selectOption(database);
    await page.getByRole("button", { name: "Save" }).click();
    const refused = page.getByLabel("Channel or pattern").and(page.locator("[aria-invalid=true]"));
    await refused.waitFor();
    expect(await describedBy(refused)).toContain("in segments joined by /");

    await call(target(), "DELETE", `/databases/${database}`);
    await page.getByLabel("Channel or pattern").fill(newChannel());
    await page.getByRole("button", { name: "Save" }).click();
    const missing = page.getByLabel("Auth database").and(page.locator("[aria-invalid=true]"));
    await missing.waitFor();
    expect(await describedBy(missing)).toBe(`There is no auth database ${database}.`);
  });

  it("are deleted only after the user confirms", async () => {
    const channel = await newSettings({ description: "to go" });
    const page = await openChannel(browser, channel, "settings");
    const remove = page.getByRole("button", { name: "Delete", exact: true });
    await remove.click();
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await remove.evaluate((button) => button === document.activeElement)).toBe(true);
    expect(await settingsOf(channel)).toMatchObject({ description: "to go" });
    await remove.click();
    await page.getByRole("button", { name: "Delete settings" }).click();
    await page.getByRole("status").filter({ hasText: "Deleted" }).waitFor();
    expect(await settingsOf(channel)).toBe(404);
    expect(await page.getByLabel("Description").inputValue()).toBe("");
  });
});

describe("the live view", () => {
  it("shows frames as they arrive, the newest first, with their whole JSON", async () => {
    const channel = newChannel();
    await publish(target(), channel, "before");
    const page = await openChannel(browser, channel, "live");
    await rows(page).filter({ hasText: "before" }).waitFor();
    const { seq, time } = await publish(target(), channel, { n: 1, deep: { er: [true] } });
    const row = rows(page).first();
    await row.filter({ hasText: '{"n":1' }).waitFor();
    await row.locator("summary").click();
    expect(JSON.parse((await row.locator("pre").textContent()) ?? "")).toEqual({
      action: "event",
      options: { channel, seq, time },
      payload: { n: 1, deep: { er: [true] } },
    });
  });

  it("shows the sender of an event, and none if an API key published it (EVT4)", async () => {
    const channel = await newRoom(target());
    const page = await openChannel(browser, channel, "live");
    await publish(target(), channel, "by the server");
    await publishAnonymously(target(), channel, "by anybody");
    const senderOf = (text: string) => rows(page).filter({ hasText: text }).locator(".who").textContent();
    expect([await senderOf("by anybody"), await senderOf("by the server")]).toEqual(["anonymous", ""]);
  });

  it("can be filtered by action and by text", async () => {
    const channel = newChannel();
    const page = await openChannel(browser, channel, "live");
    const client = await join(target(), channel);
    client.send({ action: "message", payload: "from a client" });
    for (const message of ["Avengers", "assemble"]) await publish(target(), channel, message);
    await rows(page).filter({ hasText: "assemble" }).waitFor();
    await page.getByLabel("Action").selectOption("event");
    expect(await page.locator(".frames:visible .preview").allTextContents()).toEqual(["assemble", "Avengers"]);
    await page.getByLabel("Contains").fill("AVEN");
    await expect.poll(() => page.locator(".frames:visible .preview").allTextContents()).toEqual(["Avengers"]);
    await page.getByLabel("Action").selectOption("message");
    await page.getByLabel("Contains").fill("");
    expect(await page.locator(".frames:visible .preview").allTextContents()).toEqual(["from a client"]);
    client.socket.close();
  });

  it("can be paused: it counts new frames, and shows them after Resume", async () => {
    const channel = newChannel();
    const page = await openChannel(browser, channel, "live");
    await page.getByRole("button", { name: "Pause" }).click();
    await publishAll(channel, ["one", "two", "three"]);
    await page.getByRole("status").filter({ hasText: "Paused: 3 waiting" }).waitFor();
    expect(await rows(page).filter({ hasText: "three" }).count()).toBe(0);
    await page.getByRole("button", { name: "Resume" }).click();
    await rows(page).filter({ hasText: "three" }).waitFor();
    await page.getByRole("button", { name: "Clear" }).click();
    await expect.poll(() => rows(page).count()).toBe(0);
  });

  it("shows markup as text", async () => {
    const channel = newChannel();
    const page = await openChannel(browser, channel, "live");
    const attack = `<img src=x onerror="document.title='owned'"><b>${crypto.randomUUID()}</b>`;
    await publish(target(), channel, attack);
    await rows(page).filter({ hasText: attack }).waitFor();
    expect(await page.locator("main img, main b").count()).toBe(0);
  });
});

describe("the presence view", () => {
  it("shows members as they join and leave", async () => {
    const { channel, token } = await tokenFor(target(), newChannel(), 42, { name: "Carol" });
    const page = await openChannel(browser, channel, "presence");
    await page.getByText("Nobody is here").waitFor();
    const carol = new WebSocket(
      `${target().url.replace(/^http/, "ws")}/channels/${encodeURIComponent(channel)}/socket`,
      ["durable-channels.v1", token],
    );
    carol.addEventListener("open", () => carol.send('{"action":"join"}'));
    const row = page.getByRole("row").filter({ hasText: "Carol" });
    await row.waitFor();
    expect(await row.getByRole("cell").first().textContent()).toBe("42");
    await page.getByText("1 member is here.").waitFor();
    carol.close();
    await page.getByText("Nobody is here").waitFor();
  });
});

describe("the history view", () => {
  it("finds messages by text, page by page, the newest first", async () => {
    const channel = newChannel();
    for (const part of [0, 1, 2]) {
      await publishAll(
        channel,
        Array.from({ length: 800 }, (_, n) => (n % 10 === 0 ? `Needle ${part * 800 + n}` : `hay ${n}`)),
      );
    }
    const page = await openChannel(browser, channel, "history");
    await page.getByLabel("Text", { exact: true }).fill("needle");
    await page.getByLabel("Text", { exact: true }).press("Enter");
    await page.getByRole("status").filter({ hasText: "have not been searched yet" }).waitFor();
    while (await page.getByRole("button", { name: "Older messages" }).isVisible()) {
      const before = await rows(page).count();
      await page.getByRole("button", { name: "Older messages" }).click();
      await page
        .getByRole("status")
        .filter({ hasText: /searched yet|no older ones/ })
        .waitFor();
      expect(await rows(page).count()).toBeGreaterThan(before);
    }
    await page.getByText("240 messages, no older ones.").waitFor();
    const found = await page.locator(".frames:visible .preview").allTextContents();
    expect(found).toEqual(Array.from({ length: 240 }, (_, index) => `Needle ${2390 - index * 10}`));
  });

  it("can stop a search and continue it", async () => {
    const channel = newChannel();
    for (const part of ["old", "new"]) {
      await publishAll(
        channel,
        Array.from({ length: 900 }, (_, n) => (n === 500 ? `${part} needle` : n)),
      );
    }
    const page = await openChannel(browser, channel, "history");
    // The second request gets its answer only after the search was stopped.
    let answer = () => {};
    const stopped = new Promise<void>((resolve) => (answer = resolve));
    await page.route(/before=/, async (route) => {
      await stopped;
      await route.continue();
    });
    await page.getByLabel("Text", { exact: true }).fill("needle");
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByRole("status").filter({ hasText: "1 found. Searching … back to #801." }).waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    const late = page.waitForResponse(/before=/);
    answer();
    await (await late).finished();
    await page
      .getByRole("status")
      .filter({ hasText: "1 message. Older messages have not been searched yet." })
      .waitFor();
    expect(await rows(page).count()).toBe(1);
    await page.getByRole("button", { name: "Older messages" }).click();
    await page.getByText("2 messages, no older ones.").waitFor();
  });

  it("finds messages by local time", async () => {
    const channel = newChannel();
    await publish(target(), channel, "long said");
    const page = await openChannel(browser, channel, "history");
    await page.getByLabel("Until").fill("2001-01-01T00:00:00");
    await page.getByRole("button", { name: "Search" }).click();
    await page.getByText("0 messages, no older ones.").waitFor();
    await page.getByLabel("Until").fill("");
    await page.getByLabel("Since").fill("2001-01-01T00:00:00");
    await page.getByRole("button", { name: "Search" }).click();
    await rows(page).filter({ hasText: "long said" }).waitFor();
  });

  it("shows an error at its field", async () => {
    const page = await openChannel(browser, newChannel(), "history");
    await page.getByLabel("Text", { exact: true }).fill("x".repeat(300));
    await page.getByRole("button", { name: "Search" }).click();
    const field = page.getByLabel("Text", { exact: true }).and(page.locator("[aria-invalid=true]"));
    await field.waitFor();
    expect(await describedBy(field)).toContain("at most 256 characters");
  });
});

describe("the publish view", () => {
  it("publishes JSON as it was typed, and shows its position", async () => {
    const channel = newChannel();
    const page = await openChannel(browser, channel, "publish");
    await page.getByLabel("Message", { exact: true }).fill('{"text": "On your left", "n": 1.50}');
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByRole("status").filter({ hasText: "Stored as #1, 20" }).waitFor();
    await page.getByRole("link", { name: "Live" }).click();
    await rows(page).filter({ hasText: '{"text":"On your left","n":1.5}' }).waitFor();
  });

  it("publishes plain text", async () => {
    const channel = newChannel();
    const page = await openChannel(browser, channel, "publish");
    await page.getByLabel("plain text").check();
    await page.getByLabel("Message", { exact: true }).fill('{ "not": JSON');
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByRole("status").filter({ hasText: "Stored as #1" }).waitFor();
    await page.getByRole("link", { name: "Live" }).click();
    await rows(page).filter({ hasText: '{ "not": JSON' }).waitFor();
  });

  it("shows the line and column of an error, and moves the cursor there", async () => {
    const page = await openChannel(browser, newChannel(), "publish");
    const editor = page.getByLabel("Message", { exact: true });
    await editor.fill('{\n  "a": 1\n  "b": 2\n}');
    expect(await describedBy(editor)).toBe("Line 3, column 3: comma expected.");
    expect(await page.getByRole("button", { name: "Publish" }).isDisabled()).toBe(true);
    await page.getByRole("button", { name: "Go to the error" }).click();
    expect(await editor.evaluate((area) => (area as HTMLTextAreaElement).selectionStart)).toBe(13);
    await editor.fill('{"a":1}');
    await page.getByRole("button", { name: "Format" }).click();
    expect(await editor.inputValue()).toBe('{\n  "a": 1\n}');
  });

  it.each([
    ["1e999", "IEEE 754"],
    ["[".repeat(65) + "]".repeat(65), "64 levels"],
    [`"${"x".repeat(66_000)}"`, "65536 bytes"],
    [`"${"x".repeat(65_500)}"`, "of at most 65,536 bytes"],
  ])("reports exceeded limits before the message is sent: %#", async (text, words) => {
    const page = await openChannel(browser, newChannel(), "publish");
    const editor = page.getByLabel("Message", { exact: true });
    await editor.fill(text);
    expect(await describedBy(editor)).toContain(words);
    expect(await page.getByRole("button", { name: "Publish" }).isDisabled()).toBe(true);
  });

  it("stores a message with a key once, and shows at the field that a key was already used (IDM1, IDM2)", async () => {
    const page = await openChannel(browser, newChannel(), "publish");
    await page.getByRole("button", { name: "New key" }).click();
    for (const _ of ["once", "again"]) {
      await page.getByRole("button", { name: "Publish" }).click();
      await page.getByRole("status").filter({ hasText: "Stored as #1," }).waitFor();
    }
    await page.getByLabel("Message", { exact: true }).fill('"another"');
    await page.getByRole("button", { name: "Publish" }).click();
    const key = page.getByLabel("Idempotency-Key").and(page.locator("[aria-invalid=true]"));
    await key.waitFor();
    expect(await describedBy(key)).toContain("different message");
  });

  it("shows at the field that a key has characters that cannot be sent", async () => {
    const page = await openChannel(browser, newChannel(), "publish");
    await page.getByLabel("Idempotency-Key").fill("clé →");
    await page.getByRole("button", { name: "Publish" }).click();
    const key = page.getByLabel("Idempotency-Key").and(page.locator("[aria-invalid=true]"));
    await key.waitFor();
    expect(await describedBy(key)).toContain("visible ASCII");
  });

  it("publishes in a user's name, and shows at the field that a database is not the channel's (EVT2, EVT4)", async () => {
    const [own, other] = [await newDatabase(), await newDatabase()];
    const channel = await newSettings({ database: own });
    const page = await openChannel(browser, channel, "publish");
    await page.getByLabel("Sender's database").selectOption(own);
    await page.getByLabel("Sender's id").fill("42");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByRole("status").filter({ hasText: "Stored as #1" }).waitFor();
    await page.getByLabel("Only for users of").selectOption(other);
    await page.getByRole("button", { name: "Publish" }).click();
    const field = page.getByLabel("Only for users of").and(page.locator("[aria-invalid=true]"));
    await field.waitFor();
    await page.getByRole("link", { name: "Live" }).click();
    await rows(page)
      .filter({ has: page.locator(".who", { hasText: ":42" }) })
      .waitFor();
  });
});

describe("the stats view", () => {
  it("shows the channel's statistics as charts and tables, and updates them", async () => {
    const channel = newChannel();
    await publishAll(channel, [1, 2, 3, 4, 5]);
    const page = await openChannel(browser, channel, "stats");
    const number = (name: string) => page.locator(".numbers div").filter({ hasText: name }).locator("dd");
    await page.getByRole("img", { name: "Messages per minute, last hour" }).waitFor();
    expect(await number("Last seq").textContent()).toMatch(/^5/);
    await page.getByText("As a table").first().click();
    const cells = await page.getByRole("region", { name: "Messages per minute" }).getByRole("row").allTextContents();
    expect(cells.length).toBe(61);
    expect(cells.slice(1, 3).join(" ")).toContain("5");
    await publishAll(channel, [6, 7]);
    await number("Last seq").filter({ hasText: /^7/ }).waitFor();
    await number("Archived up to").filter({ hasText: /^7/ }).waitFor();
    await page.getByRole("img", { name: "Backlog since" }).waitFor();
  });

  it("sends requests only while it is visible", async () => {
    const page = await open(browser, "");
    await page.clock.install();
    let asked = 0;
    page.on("request", (request) => (asked += request.url().endsWith("/stats") ? 1 : 0));
    await page.goto(`${target().url}/console#/channels/${encodeURIComponent(newChannel())}/stats`);
    await page.reload();
    await expect.poll(() => asked).toBeGreaterThan(0);
    await setHidden(page, true);
    const before = asked;
    await page.clock.runFor("05:00");
    expect(asked).toBe(before);
    await setHidden(page, false);
    await expect.poll(() => asked).toBeGreaterThan(before);
  });
});
