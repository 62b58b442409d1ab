import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Frame } from "../support/frames.ts";
import { newOpenChannel, TestSocket } from "../unit/support.ts";
import { ask, BY_API_KEY, opened, outcomeOf, pathOf } from "./support.ts";

/** The limits of PROTOCOL.md. */
const MAX_BYTES = 65_536;
const MAX_BATCH_BYTES = 1_048_576;
const MAX_LEVELS = 64;

let channel = "";
let observer: TestSocket;
beforeAll(async () => {
  channel = await newOpenChannel({ presence: true });
  observer = await opened(`${pathOf(channel)}/socket`, BY_API_KEY);
  observer.send({ action: "join" });
  await observer.frame();
});
afterAll(() => observer.socket.close());

type Body = () => BodyInit | null;
/** A request, and its outcome: "yes" if the message is taken. */
type Case = [name: string, headers: Record<string, string>, body: Body, outcome: string];

const JSON_TYPE = { "Content-Type": "application/json" };
/** The body's text, its channel named first. */
const body = (more: string) => `{"channel":${JSON.stringify(channel)}${more}}`;
const withMessage = (message: string) => body(`,"message":${message}`);
/** A case whose body has the right type. */
const text = (name: string, make: () => string, outcome: string): Case => [name, JSON_TYPE, make, outcome];
const bytes = (name: string, make: () => Uint8Array, outcome: string): Case => [name, JSON_TYPE, make as Body, outcome];
const utf8 = new TextEncoder();

/** A body of so many bytes: ASCII, or characters of two, three or four bytes each. */
function sized(count: number, character = "x"): string {
  const room = count - utf8.encode(withMessage('""')).length;
  const width = utf8.encode(character).length;
  const filling = character.repeat(Math.floor(room / width)) + "x".repeat(room % width);
  return withMessage(JSON.stringify(filling));
}
const nested = (levels: number, [start, end]: readonly [string, string]) =>
  withMessage(start.repeat(levels - 1) + "1" + end.repeat(levels - 1));
const ARRAY = ["[", "]"] as const;
const OBJECT = ['{"a":', "}"] as const;

const TYPES: Case[] = [
  ...[
    "application/json",
    "application/json;charset=utf-8",
    "application/json; charset=UTF-8",
    'application/json; charset="utf-8"',
    "application/json ; charset=utf-8",
    "Application/JSON",
    "application/problem+json",
    "application/vnd.api.v1+json",
  ].map((type): Case => [type, { "Content-Type": type }, () => withMessage("1"), "yes"]),
  ...[
    "",
    "text/plain",
    "text/json",
    "application/x-json",
    "application/jsonp",
    "application/json5",
    "application/jsonl",
    "application/ndjson",
    "application/json-seq",
    "application/javascript",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain; application/json",
    "text/plain;charset=application/json",
    "application",
    "json",
    "application/",
    "application/+json",
    "*/*",
    "application/*",
    "application/json/x",
    "application/xml, application/json",
  ].map((type): Case => [type, { "Content-Type": type }, () => withMessage("1"), "unsupported-media-type"]),
];

const TEXTS: Case[] = [
  text("nothing", () => "", "invalid-json"),
  text("a space", () => " ", "invalid-json"),
  text("the word undefined", () => "undefined", "invalid-json"),
  text("NaN as message", () => withMessage("NaN"), "invalid-json"),
  text("Infinity as message", () => withMessage("Infinity"), "invalid-json"),
  text("no message behind the colon", () => withMessage(""), "invalid-json"),
  text("a comma at the end", () => `${withMessage("1").slice(0, -1)},}`, "invalid-json"),
  text("no end", () => withMessage("1").slice(0, -1), "invalid-json"),
  text("two bodies", () => withMessage("1") + withMessage("2"), "invalid-json"),
  text("two bodies on two lines", () => `${withMessage("1")}\n${withMessage("2")}`, "invalid-json"),
  text("more behind the end", () => `${withMessage("1")}x`, "invalid-json"),
  text("a NUL behind the end", () => `${withMessage("1")}\u0000`, "invalid-json"),
  text("a bracket too many", () => `${withMessage("1")}}`, "invalid-json"),
  text("single quotes", () => `{'channel':'${channel}','message':1}`, "invalid-json"),
  text("keys without quotes", () => `{channel:"${channel}",message:1}`, "invalid-json"),
  text("a comment", () => withMessage("/* 1 */1"), "invalid-json"),
  text("a line comment", () => `${withMessage("1")}// done`, "invalid-json"),
  text("a prefix against inclusion", () => `)]}',\n${withMessage("1")}`, "invalid-json"),
  text("a callback", () => `callback(${withMessage("1")})`, "invalid-json"),
  text("a form", () => `channel=${channel}&message=1`, "invalid-json"),
  text("XML", () => `<message channel="${channel}">1</message>`, "invalid-json"),
  text("a leading zero", () => withMessage("01"), "invalid-json"),
  text("a plus sign", () => withMessage("+1"), "invalid-json"),
  text("a hexadecimal number", () => withMessage("0x1"), "invalid-json"),
  text("a dot at the end of a number", () => withMessage("1."), "invalid-json"),
  text("a dot at the start of a number", () => withMessage(".1"), "invalid-json"),
  text("a number with a separator", () => withMessage("1_000"), "invalid-json"),
  text("a BigInt", () => withMessage("1n"), "invalid-json"),
  text("a minus sign alone", () => withMessage("-"), "invalid-json"),
  text("a control character in a text", () => withMessage('"\u0001"'), "invalid-json"),
  text("a line feed in a text", () => withMessage('"a\nb"'), "invalid-json"),
  text("an escape that there is not", () => withMessage('"\\x41"'), "invalid-json"),
  text("half a Unicode escape", () => withMessage('"\\u12"'), "invalid-json"),
  text("a text without end", () => withMessage('"a'), "invalid-json"),
  text("upper-case literals", () => withMessage("TRUE"), "invalid-json"),
  text("a no-break space between tokens", () => withMessage("\u00a01"), "invalid-json"),
  text("white space around everything", () => ` \n\t${withMessage(" 1 ")}\r\n `, "yes"),
  text("a solidus that is escaped", () => withMessage('"\\/"'), "yes"),
  text("a NUL that is escaped", () => withMessage('"\\u0000"'), "yes"),
  text("a lone surrogate that is escaped", () => withMessage('"\\ud800"'), "yes"),
  text("line separators in a text", () => withMessage('"\u2028\u2029"'), "yes"),
  text("markup", () => withMessage('"<script>alert(1)</script>"'), "yes"),
];

const ENCODINGS: Case[] = [
  bytes("a byte that UTF-8 never has", () => spliced([0xff]), "invalid-json"),
  bytes("a continuation byte alone", () => spliced([0x80]), "invalid-json"),
  bytes("half of a two-byte character", () => spliced([0xc3]), "invalid-json"),
  bytes("half of a four-byte character", () => spliced([0xf0, 0x9f]), "invalid-json"),
  bytes("an overlong solidus", () => spliced([0xc0, 0xaf]), "invalid-json"),
  bytes("an overlong NUL", () => spliced([0xc0, 0x80]), "invalid-json"),
  bytes("a surrogate in UTF-8", () => spliced([0xed, 0xa0, 0x80]), "invalid-json"),
  bytes("a character beyond Unicode", () => spliced([0xf4, 0x90, 0x80, 0x80]), "invalid-json"),
  bytes("five bytes for a character", () => spliced([0xf8, 0x88, 0x80, 0x80, 0x80]), "invalid-json"),
  bytes("Latin-1", () => spliced([0xe9]), "invalid-json"),
  bytes("UTF-16 LE", () => utf16(true), "invalid-json"),
  bytes("UTF-16 BE", () => utf16(false), "invalid-json"),
  bytes("gzip, without saying so", () => new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]), "invalid-json"),
  bytes("NUL bytes only", () => new Uint8Array(16), "invalid-json"),
  bytes("a character of four bytes", () => spliced([0xf0, 0x9f, 0x98, 0x80]), "yes"),
  bytes("a byte order mark", () => new Uint8Array([0xef, 0xbb, 0xbf, ...utf8.encode(withMessage("1"))]), "yes"),
  bytes("two byte order marks", () => utf8.encode(`\ufeff\ufeff${withMessage("1")}`), "invalid-json"),
  bytes("a noncharacter", () => spliced([0xef, 0xbf, 0xbf]), "yes"),
];
/** A body whose message is a text with these bytes. */
function spliced(inside: number[]): Uint8Array {
  const start = body(',"message":"').slice(0, -1);
  return new Uint8Array([...utf8.encode(start), ...inside, ...utf8.encode('"}')]);
}
function utf16(isLittle: boolean): Uint8Array {
  const source = withMessage("1");
  const view = new DataView(new ArrayBuffer(source.length * 2));
  for (let index = 0; index < source.length; index++) view.setUint16(index * 2, source.charCodeAt(index), isLittle);
  return new Uint8Array(view.buffer);
}

const SIZES: Case[] = [
  text("as many bytes as allowed", () => sized(MAX_BYTES), "yes"),
  text("one byte too many", () => sized(MAX_BYTES + 1), "too-large"),
  ...["é", "日", "😀"].flatMap((character) => [
    text(`as many bytes as allowed, of ${character}`, () => sized(MAX_BYTES, character), "yes"),
    text(`one byte too many, of ${character}`, () => sized(MAX_BYTES + 1, character), "too-large"),
  ]),
  text("white space beyond the limit", () => withMessage("1") + " ".repeat(MAX_BYTES), "too-large"),
  text("a key beyond the limit", () => withMessage(`{"${"k".repeat(MAX_BYTES)}":1}`), "too-large"),
  text("a batch's size", () => sized(MAX_BATCH_BYTES), "too-large"),
  ["a stream beyond the limit", JSON_TYPE, () => new Blob([sized(MAX_BYTES + 1)]).stream(), "too-large"],
  ["a stream of as much as allowed", JSON_TYPE, () => new Blob([sized(MAX_BYTES)]).stream(), "yes"],
  ["a stream far beyond the limit", JSON_TYPE, () => new Blob([sized(MAX_BATCH_BYTES * 2)]).stream(), "too-large"],
  ["a stream of nothing", JSON_TYPE, () => new Blob([]).stream(), "invalid-json"],
  ["no body", JSON_TYPE, () => null, "invalid-json"],
  [
    "a length that is too large, and a small body",
    { ...JSON_TYPE, "Content-Length": String(MAX_BYTES + 1) },
    () => withMessage("1"),
    "too-large",
  ],
  ...[ARRAY, OBJECT].flatMap((kind) => [
    text(`as many levels as allowed, of ${kind[0]}`, () => nested(MAX_LEVELS, kind), "yes"),
    text(`one level too many, of ${kind[0]}`, () => nested(MAX_LEVELS + 1, kind), "too-deep"),
    text(`ten times the levels, of ${kind[0]}`, () => nested(MAX_LEVELS * 10, kind), "too-deep"),
    text(`10,000 levels, of ${kind[0]}`, () => nested(10_000, kind), "too-deep"),
  ]),
  text("levels without end", () => withMessage("[".repeat(60_000)), "invalid-json"),
  text("levels in an unknown field", () => body(`,"message":1,"other":${"[".repeat(64)}${"]".repeat(64)}`), "too-deep"),
  text(
    "8,000 keys",
    () => withMessage(JSON.stringify(Object.fromEntries(Array.from({ length: 8_000 }, (_, n) => [n, 1])))),
    "too-large",
  ),
  text("20,000 numbers", () => withMessage(JSON.stringify(Array.from({ length: 20_000 }, () => 1))), "yes"),
];

const NUMBERS: Case[] = [
  ...["1e309", "-1e309", "1e999", "1e99999999999", `1${"0".repeat(400)}`, "[1,[2,1e400]]", '{"a":{"b":-1e400}}'].map(
    (number) => text(`the number ${number.slice(0, 30)}`, () => withMessage(number), "invalid-number"),
  ),
  ...["-0", "1e308", "5e-324", "1e-400", "9007199254740993", "0.1", "1E5", "-1e-5"].map((number) =>
    text(`the number ${number}`, () => withMessage(number), "yes"),
  ),
];

const FIELDS: Case[] = [
  ...["[]", "{}", "null", "true", "1", '"text"', "[[]]", "[{}]"].map((root) =>
    text(`the body ${root}`, () => root, "invalid-field"),
  ),
  text("an array with a good body", () => `[${withMessage("1")}]`, "invalid-field"),
  text("no message", () => body(""), "invalid-field"),
  text("no channel", () => '{"message":1}', "invalid-field"),
  ...["null", "true", "1", "[]", '["x"]', "{}", '""', '" "', '"/"', '"*"', '"a/*"'].map((name) =>
    text(`the channel ${name}`, () => `{"channel":${name},"message":1}`, "invalid-field"),
  ),
  ...[
    "other",
    "Message",
    "channels",
    "seq",
    "time",
    "client",
    "action",
    "options",
    "payload",
    "id",
    "",
    " message",
    "__proto__",
    "constructor",
    "prototype",
    "toString",
  ].map((key) =>
    text(
      `the unknown field ${JSON.stringify(key)}`,
      () => body(`,"message":1,${JSON.stringify(key)}:1`),
      "invalid-field",
    ),
  ),
  text("a prototype that brings the message", () => body(',"__proto__":{"message":1}'), "invalid-field"),
  text(
    "a prototype inside the message",
    () => withMessage('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'),
    "yes",
  ),
  text("a channel twice, the last one bad", () => body(',"message":1,"channel":"/"'), "invalid-field"),
  text(
    "a channel twice, the last one good",
    () => `{"channel":"/","message":1,"channel":${JSON.stringify(channel)}}`,
    "yes",
  ),
  text("a message twice", () => withMessage('1,"message":2'), "yes"),
  text("a field name that is escaped", () => body(',"\\u006dessage":1'), "yes"),
  ...["null", "1", "[]", "{}", '""', '"a b"', '"a/b"', `"${"x".repeat(65)}"`].map((name) =>
    text(`the database ${name.slice(0, 20)}`, () => body(`,"message":1,"database":${name}`), "invalid-field"),
  ),
  ...[
    "null",
    "1",
    '"me"',
    "[]",
    "{}",
    '{"id":1}',
    '{"database":"x"}',
    '{"database":"x","id":0}',
    '{"database":"x","id":-1}',
    '{"database":"x","id":1.5}',
    '{"database":"x","id":null}',
    '{"database":"x","id":""}',
    '{"database":"x","id":"a b"}',
    '{"database":"x","id":[1]}',
    '{"database":"x","id":1,"extras":{}}',
    '{"database":"x","id":9007199254740992}',
  ].map((sender) => text(`the sender ${sender}`, () => body(`,"message":1,"sender":${sender}`), "invalid-field")),
  text("a sender, by an anonymous client", () => body(',"message":1,"sender":{"database":"x","id":1}'), "forbidden"),
  ...["null", "true", "false", "0", '""', "[]", "{}", '"null"'].map((message) =>
    text(`the message ${message}`, () => withMessage(message), "yes"),
  ),
];

const KEYS: Case[] = [
  ...["", " ", "a b", "\u00e9", "x".repeat(256), "a\tb"].map((key): Case => [
    `the idempotency key ${JSON.stringify(key).slice(0, 20)}`,
    { ...JSON_TYPE, "Idempotency-Key": key },
    () => withMessage("1"),
    "invalid-field",
  ]),
  [
    "an idempotency key of 255 characters",
    { ...JSON_TYPE, "Idempotency-Key": "x".repeat(255) },
    () => withMessage("1"),
    "yes",
  ],
];

/** How many there are: a table that loses cases by mistake does not pass. */
const COUNT = 219;
const CASES: Case[] = [...TYPES, ...TEXTS, ...ENCODINGS, ...SIZES, ...NUMBERS, ...FIELDS, ...KEYS];

async function send(headers: Record<string, string>, content: BodyInit | null, path = "/message"): Promise<string> {
  return outcomeOf(await ask(path, { method: "POST", headers, body: content }));
}

/** Publishes a message that must arrive next, with the next number: whatever was sent before has changed nothing (ERR3). */
let last = 0;
async function expectNothingElse(accepted: number): Promise<void> {
  const control = crypto.randomUUID();
  expect(await send(JSON_TYPE, withMessage(JSON.stringify(control)))).toBe("yes");
  const frames: Frame[] = await observer.frames(accepted + 1);
  last += accepted + 1;
  expect(frames.at(-1)).toMatchObject({ options: { seq: last }, payload: control });
}

describe("a body of POST /message (PUB1, PUB5, LIM1, LIM2)", () => {
  it("there are as many cases as expected", () => {
    expect(CASES).toHaveLength(COUNT);
  });

  it.each(CASES)("%s", async (_, headers, make, outcome) => {
    expect(await send(headers, make())).toBe(outcome);
    await expectNothingElse(outcome === "yes" ? 1 : 0);
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});

describe("a batch (PUB6)", () => {
  const entry = (message = "1") => withMessage(message);
  const of = (...entries: string[]) => `[${entries.join()}]`;
  it.each<[string, () => string, string]>([
    ["an empty one", () => "[]", "invalid-field"],
    ["no array", () => entry(), "invalid-field"],
    ["an array in the array", () => `[[${entry()}]]`, "invalid-field"],
    ["null in the array", () => of(entry(), "null"), "invalid-field"],
    ["an array-like object", () => `{"0":${entry()},"length":1}`, "invalid-field"],
    ["1,001 messages", () => of(...Array.from({ length: 1_001 }, () => entry())), "invalid-field"],
    ["one message malformed", () => of(entry(), "{}"), "invalid-field"],
    ["one channel malformed", () => of(entry(), '{"channel":"/","message":1}'), "invalid-field"],
    ["one number too large", () => of(entry(), entry("1e999")), "invalid-number"],
    ["one message too large", () => of(entry(), entry(JSON.stringify("x".repeat(MAX_BYTES)))), "too-large"],
    ["one message too large in UTF-8 only", () => of(entry(), entry(JSON.stringify("日".repeat(22_000)))), "too-large"],
    [
      "more bytes than a batch may have",
      () => of(...Array.from({ length: 20 }, () => entry(JSON.stringify("x".repeat(60_000))))),
      "too-large",
    ],
    ["one level too many", () => of(entry("[".repeat(63) + "]".repeat(63))), "too-deep"],
    [
      "101 channels",
      () => of(...Array.from({ length: 101 }, (_, n) => `{"channel":"${channel}/${n}","message":1}`)),
      "invalid-field",
    ],
    ["a comma too many", () => `${of(entry()).slice(0, -1)},]`, "invalid-json"],
    ["one message per line", () => `${entry()}\n${entry()}`, "invalid-json"],
  ])("is refused whole: %s", async (_, make, outcome) => {
    expect(await send(JSON_TYPE, make(), "/messages")).toBe(outcome);
    await expectNothingElse(0);
  });
});

describe("a method that an address does not take (ERR5)", () => {
  const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "REPORT"];
  const ADDRESSES: [path: () => string, taken: string[]][] = [
    [() => "/message", ["POST"]],
    [() => "/messages", ["POST"]],
    [() => `${pathOf(channel)}/messages`, ["GET", "HEAD"]],
    [() => `${pathOf(channel)}/presence`, ["GET", "HEAD"]],
    [() => `${pathOf(channel)}/stats`, ["GET", "HEAD"]],
    [() => `${pathOf(channel)}/socket`, ["GET", "HEAD"]],
    [() => "/rt/canonical", ["GET", "HEAD"]],
    [() => "/message/", []],
    [() => "/Message", []],
    [() => "//message", []],
    [() => "/message/x", []],
    [() => "/message%2F", []],
  ];
  it.each(METHODS)("%s", async (method) => {
    for (const [path, taken] of ADDRESSES) {
      if (taken.includes(method)) continue;
      const content = method === "GET" || method === "HEAD" ? null : withMessage("1");
      const answer = await ask(path(), { method, headers: { ...JSON_TYPE, ...BY_API_KEY }, body: content });
      expect(answer.status, path()).toBe(taken.length > 0 ? 405 : 404);
      await answer.arrayBuffer();
    }
    await expectNothingElse(0);
  });

  it.each(["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])("%s changes no method", async (name) => {
    const headers = { ...JSON_TYPE, ...BY_API_KEY, [name]: "DELETE" };
    expect(await outcomeOf(await ask(pathOf(channel), { headers }))).toBe("yes");
    expect(await outcomeOf(await ask(pathOf(channel), { headers: BY_API_KEY }))).toBe("yes");
  });
});

describe("a query of history or presence (HIS)", () => {
  it.each([
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=1.5",
    "limit=1e2",
    "limit=0x10",
    "limit=",
    "limit=%20",
    "limit=ten",
    "limit=NaN",
    "limit=99999999999999999999",
    "limit=%EF%BC%91",
    "after=-1",
    "after=1.5",
    "after=",
    "after=x",
    "after=9007199254740992",
    "after=1e3",
    "after=0%00",
    "before=-1",
    "before=x",
    "before=",
    "before=9007199254740993",
    "q=",
    `q=${"x".repeat(257)}`,
    "since=",
    "since=yesterday",
    "since=0",
    "since=2026-13-01T00:00:00Z",
    "since=1969-12-31T23:59:59Z",
    "until=now",
    "until=2026-11-24",
    "until=10000-01-01T00:00:00Z",
    "since=2026-11-24T10:17:02",
  ])("%s is refused", async (query) => {
    expect(await outcomeOf(await ask(`${pathOf(channel)}/messages?${query}`))).toBe("invalid-field");
    if (query.startsWith("limit")) {
      expect(await outcomeOf(await ask(`${pathOf(channel)}/presence?${query}`))).toBe("invalid-field");
    }
  });

  it.each(["q=%25", "q=_", "q=%27%20OR%201=1--", "q=%5C", "q=*", "q=%00", "q=%22%7D%5D", "q=.*", "q=%F0%9F%98%80"])(
    "%s is searched for literally",
    async (query) => {
      const other = await newOpenChannel();
      await send(JSON_TYPE, JSON.stringify({ channel: other, message: "plain" }));
      const answer = await ask(`${pathOf(other)}/messages?${query}`);
      expect(await answer.json()).toMatchObject({ seq: 1, messages: [] });
    },
  );
});
