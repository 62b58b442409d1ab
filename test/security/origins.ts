import { beforeAll, expect, it } from "vitest";
import { newOpenChannel } from "../unit/support.ts";
import { ask, BY_API_KEY, opened, outcomeOf, pathOf } from "./support.ts";

/** Origins that vitest.config.ts binds as ALLOWED_ORIGINS, and the server's own. */
const ALLOWED = ["https://front.test", "https://other.test", "https://channels.test"];

const HOSTILE = [
  "https://evil.test",
  "null",
  "*",
  "http://front.test",
  "ws://front.test",
  "wss://front.test",
  "front.test",
  "//front.test",
  "https:front.test",
  "https://front.test:8443",
  "https://front.test:0",
  "https://front.test.",
  "https://front.test.evil.test",
  "https://front.testevil.test",
  "https://front.tes",
  "https://evilfront.test",
  "https://sub.front.test",
  "https://front-test",
  "https://front.test@evil.test",
  "https://evil.test/https://front.test",
  "https://evil.test?https://front.test",
  "https://evil.test#https://front.test",
  "https://evil.test\\@front.test",
  "https://front.test,https://other.test",
  "https://front.test, https://other.test",
  "https://front.test https://other.test",
  "https://channels.test.evil.test",
  "https://evil-channels.test",
  "https://channels.test:444",
  "https://channels.test@evil.test",
  "https://evil.test:443/channels.test",
  "https://xn--chnnels-5wa.test",
  "https://localhost",
  "http://127.0.0.1",
  "http://[::1]",
  "file://",
  "data:",
  "about:blank",
  "javascript:alert(1)",
  "chrome-extension://abcdefghijklmnop",
  `https://${"x".repeat(8_000)}.test`,
];

let channel = "";
beforeAll(async () => {
  channel = await newOpenChannel({ presence: true });
});

const json = { "Content-Type": "application/json" };
const upgrade = { Upgrade: "websocket" };

/** What a page may try, with a credential that it has got hold of or without one. */
const REQUESTS: [name: string, path: () => string, init: () => RequestInit][] = [
  ["reading history", () => `${pathOf(channel)}/messages`, () => ({})],
  ["reading history with an API key", () => `${pathOf(channel)}/messages`, () => ({ headers: BY_API_KEY })],
  ["reading presence", () => `${pathOf(channel)}/presence`, () => ({})],
  ["publishing", () => "/message", () => ({ method: "POST", headers: json, body: body() })],
  [
    "publishing with an API key",
    () => "/message",
    () => ({ method: "POST", headers: { ...json, ...BY_API_KEY }, body: body() }),
  ],
  [
    "publishing as a form would",
    () => "/message",
    () => ({ method: "POST", headers: { "Content-Type": "text/plain" }, body: body() }),
  ],
  ["publishing a batch", () => "/messages", () => ({ method: "POST", headers: json, body: `[${body()}]` })],
  [
    "changing settings",
    () => pathOf(channel),
    () => ({ method: "PUT", headers: { ...json, ...BY_API_KEY }, body: "{}" }),
  ],
  ["removing settings", () => pathOf(channel), () => ({ method: "DELETE", headers: BY_API_KEY })],
  [
    "a preflight",
    () => "/message",
    () => ({ method: "OPTIONS", headers: { "Access-Control-Request-Method": "POST" } }),
  ],
  ["a socket", () => `${pathOf(channel)}/socket`, () => ({ headers: upgrade })],
  ["a socket with an API key", () => `${pathOf(channel)}/socket`, () => ({ headers: { ...upgrade, ...BY_API_KEY } })],
  ["a multiplexed socket", () => "/rt/canonical", () => ({ headers: upgrade })],
];
const body = () => JSON.stringify({ channel, message: "from another site" });

it.each(HOSTILE)("a page of %s may do nothing (LIM9)", async (Origin) => {
  for (const [name, path, init] of REQUESTS) {
    const { headers, ...more } = init();
    const answer = await ask(path(), { ...more, headers: { ...(headers as Record<string, string>), Origin } });
    expect(answer.headers.get("Access-Control-Allow-Origin"), name).toBeNull();
    expect(answer.webSocket, name).toBeNull();
    expect(await outcomeOf(answer), name).toBe("wrong-origin");
  }
});

it("what pages of other sites tried has changed nothing, and the server's own pages are served", async () => {
  const page = await ask(`${pathOf(channel)}/messages`, { headers: BY_API_KEY });
  expect(await page.json()).toMatchObject({ seq: 0, messages: [] });
  expect(await outcomeOf(await ask(pathOf(channel), { headers: BY_API_KEY }))).toBe("yes");
  for (const Origin of ALLOWED) {
    const answer = await ask(`${pathOf(channel)}/messages`, { headers: { Origin } });
    expect(await outcomeOf(answer), Origin).toBe("yes");
    for (const path of [`${pathOf(channel)}/socket`, "/rt/canonical"]) (await opened(path, { Origin })).socket.close();
  }
});
