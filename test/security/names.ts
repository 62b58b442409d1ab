import { listDurableObjectIds } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { publish } from "../unit/support.ts";
import { ask, BY_API_KEY, open, opened, outcomeOf, pathOf, post } from "./support.ts";

const LONGEST = "x".repeat(128);

/** Names that no channel can have. */
const NAMES = [
  "",
  " ",
  "a b",
  " a",
  "a ",
  "a\t",
  "a\n",
  "a\r\nX-Header: 1",
  "\u0000",
  "a\u0000",
  "a\u0000b",
  "\u007f",
  "a\u0085",
  "/",
  "//",
  "/a",
  "a/",
  "a//b",
  "a/b/",
  ".",
  "..",
  "./a",
  "../a",
  "a/.",
  "a/..",
  "a/./b",
  "a/../b",
  "a/../../b",
  "../../../etc/passwd",
  "..\\..\\windows",
  "a\\b",
  "a%2Fb",
  "a%2f..%2fb",
  "%2e%2e",
  "%00",
  "a%",
  "a?b",
  "a?limit=1",
  "a#b",
  "a&b",
  "*",
  "a*",
  "*/a",
  "room/*",
  "room/*/x",
  "**",
  "a|b",
  "a'b",
  'a"b',
  "a`b",
  "a$b",
  "a!b",
  "a^b",
  "a(b)",
  "a[b]",
  "a{b}",
  "<script>",
  "'; DROP TABLE messages; --",
  "${7*7}",
  "{{7*7}}",
  "ä",
  "a\u0308",
  "日本",
  "\u0430dmin",
  "\uff41",
  "\uff0fa",
  "\u2044",
  "\u2215",
  "\uff0e\uff0e",
  "\u2024\u2024",
  "a\u200bb",
  "a\u200db",
  "\u202eabc",
  "\ufeffa",
  "a\u00adb",
  "\u212a",
  "ſ",
  "ı",
  "😀",
  "a\u{10ffff}",
  `${LONGEST}x`,
  "x/".repeat(64),
  `x/${LONGEST}`,
  "x".repeat(10_000),
];

/** Path segments that stand for no channel however they are decoded, and what answers instead. */
const SEGMENTS: [segment: string, code: string][] = [
  ["a%252Fb", "invalid-field"],
  ["a%25252Fb", "invalid-field"],
  ["%252e%252e", "invalid-field"],
  ["a%2F%2E%2E%2Fb", "invalid-field"],
  ["%2e%2e%2fa", "invalid-field"],
  ["a%2F%2e", "invalid-field"],
  ["%", "invalid-field"],
  ["a%2", "invalid-field"],
  ["%zz", "invalid-field"],
  ["%u0061", "invalid-field"],
  ["%FF", "invalid-field"],
  ["%C0%AF", "invalid-field"],
  ["%C0%AE%C0%AE", "invalid-field"],
  ["%E0%80%AF", "invalid-field"],
  ["%ED%A0%80", "invalid-field"],
  ["%F4%90%80%80", "invalid-field"],
  ["a%0D%0ASet-Cookie:%20x", "invalid-field"],
  ["a/b", "not-found"],
  ["/a", "not-found"],
  ["a/", "not-found"],
  ["a\\b", "not-found"],
];

const PLACES = [
  ["messages", {}],
  ["presence", {}],
  ["stats", {}],
  ["socket", { Upgrade: "websocket" }],
] as const;

/** How many channel objects there are. */
const objects = async () => (await listDurableObjectIds(env.CHANNELS)).length;

/** Segments that every URL parser resolves before a request is sent. */
const isResolved = (name: string) => /^(?:\.|%2e){0,2}$/i.test(name);

describe("a name that no channel can have names none, for an API key too (CHA1, CHA2)", () => {
  it.each(NAMES)("%j", async (name) => {
    const before = await objects();
    expect(await outcomeOf(await post("/message", { channel: name, message: 1 }, BY_API_KEY))).toBe("invalid-field");
    const batch = [
      { channel: "fine", message: 1 },
      { channel: name, message: 1 },
    ];
    expect(await outcomeOf(await post("/messages", batch, BY_API_KEY))).toBe("invalid-field");
    const socket = await opened("/rt/canonical", BY_API_KEY);
    for (const action of ["join", "message", "history", "leave"]) {
      socket.send({ action, options: { channel: name }, ...(action === "message" && { payload: 1 }) });
      const answer = await socket.frame();
      expect([answer.action, (answer.payload as { code: string }).code]).toEqual(["error", "invalid-field"]);
    }
    socket.socket.close();
    if (!isResolved(name)) {
      for (const [place, headers] of PLACES) {
        const answer = await ask(`${pathOf(name)}/${place}`, { headers: { ...BY_API_KEY, ...headers } });
        expect(await outcomeOf(answer), place).toBe("invalid-field");
      }
    }
    expect(await objects()).toBe(before);
  });

  it.each(SEGMENTS)("/channels/%s", async (segment, code) => {
    const before = await objects();
    for (const [place, headers] of PLACES) {
      const answer = await ask(`/channels/${segment}/${place}`, { headers: { ...BY_API_KEY, ...headers } });
      expect(await outcomeOf(answer), place).toBe(code);
    }
    expect(await objects()).toBe(before);
  });

  it("settings are stored for no such name", async () => {
    const before = await env.DB.prepare("SELECT name FROM channels").all();
    const isPattern = (name: string) => name === "*" || name === "room/*";
    const names = NAMES.filter((name) => !isPattern(name) && !isResolved(name));
    for (const name of names) {
      for (const [method, body] of [
        ["PUT", "{}"],
        ["DELETE", null],
        ["GET", null],
      ] as const) {
        const headers = { ...BY_API_KEY, "Content-Type": "application/json" };
        const answer = await ask(pathOf(name), { method, headers, body });
        expect(await outcomeOf(answer), `${method} ${JSON.stringify(name)}`).toBe("invalid-field");
      }
    }
    expect((await env.DB.prepare("SELECT name FROM channels").all()).results).toEqual(before.results);
  });
});

describe("names that look alike are channels of their own", () => {
  it.each([
    ["alike", "Alike"],
    ["a.b", "a..b"],
    ["a+b", "a-b"],
    ["a", "a/a"],
    ["...", "...."],
    ["0", "00"],
    ["O", "0x"],
    ["x,y", "x;y"],
    [LONGEST, LONGEST.slice(1)],
    ["__proto__", "constructor"],
    ["toString", "hasOwnProperty"],
  ])("%s, %s", async (one, other) => {
    const message = crypto.randomUUID();
    await publish(one, message);
    const textOf = async (name: string) => (await ask(`${pathOf(name)}/messages`, { headers: BY_API_KEY })).text();
    expect(await textOf(one)).toContain(message);
    expect(await textOf(other)).not.toContain(message);
    expect(await open(`${pathOf(other)}/socket`)).toBe("unauthorized");
  });

  it("a plus sign in a path is a plus sign (CHA2)", async () => {
    await publish("plus+sign", "here");
    const answer = await ask("/channels/plus+sign/messages", { headers: BY_API_KEY });
    expect(await answer.json()).toMatchObject({ channel: "plus+sign", seq: 1 });
  });
});
