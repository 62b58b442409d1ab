import { beforeAll, describe, expect, it } from "vitest";
import type { Frame } from "../support/frames.ts";
import { newOpenChannel, TestSocket } from "../unit/support.ts";
import { BY_API_KEY, opened, pathOf } from "./support.ts";

/** The limits of PROTOCOL.md. */
const MAX_BYTES = 65_536;
const MAX_LEVELS = 64;

let channel = "";
let observer: TestSocket;
let last = 0;
beforeAll(async () => {
  channel = await newOpenChannel({ presence: true, private_messaging: { active: true } });
  observer = await opened(`${pathOf(channel)}/socket`, BY_API_KEY);
  observer.send({ action: "join" });
  await observer.frame();
});

/** What is sent, made from the options that name the channel, and the error that answers it. */
type Case = [name: string, make: (options: object) => string | ArrayBuffer, code: string, field?: string];

const frame = (name: string, fields: object, field?: string): Case => {
  const make = (options: object) => JSON.stringify({ options, ...fields });
  return field === undefined ? [name, make, "invalid-field"] : [name, make, "invalid-field", field];
};
const raw = (name: string, text: string, code = "invalid-json"): Case => [name, () => text, code];
/** A frame whose options are these and the channel. */
const optioned = (name: string, action: string, more: object, field: string, code = "invalid-field"): Case => [
  name,
  (options) =>
    JSON.stringify({ action, options: { ...options, ...more }, ...(action === "message" && { payload: 1 }) }),
  code,
  field,
];

const TEXTS: Case[] = [
  ...[
    "",
    " ",
    "PING",
    "Ping",
    "ping ",
    " ping",
    "ping\n",
    "pong",
    '"',
    "{",
    "}",
    "{}{}",
    "undefined",
    "NaN",
    "'ping'",
    "\u0000",
    "\ufeff{}",
    "GET / HTTP/1.1\r\n\r\n",
    '{"action":"join",}',
    '{"action":"join"',
    "{action:'join'}",
  ].map((text) => raw(`the text ${JSON.stringify(text)}`, text)),
  ...["null", "true", "1", '"join"', "[]", "{}", '[[{"action":"join"}]]'].map((text) =>
    raw(`the text ${text}`, text, "invalid-field"),
  ),
  ["an empty binary frame", () => new ArrayBuffer(0), "not-text"],
  ["a binary frame", () => new Uint8Array([0, 1, 2, 255]).buffer, "not-text"],
  [
    "a good frame in binary",
    (options) =>
      new TextEncoder().encode(JSON.stringify({ action: "message", options, payload: 1 })).buffer as ArrayBuffer,
    "not-text",
  ],
  ["a heartbeat in binary", () => new TextEncoder().encode("ping").buffer as ArrayBuffer, "not-text"],
];

const ACTIONS: Case[] = [
  ...[
    "",
    "Join",
    "JOIN",
    "join ",
    "events",
    "error",
    "presence_full",
    "presence_update",
    "connection_status",
    "ping",
    "subscribe",
    "publish",
    "__proto__",
    "constructor",
    "toString",
    null,
    1,
    true,
    ["join"],
    { join: 1 },
  ].map((action) => frame(`the action ${JSON.stringify(action)}`, { action }, "action")),
  frame("no action", { payload: 1 }, "action"),
];

const FIELDS: Case[] = [
  ...["client", "channel", "seq", "time", "socketId", "", "Payload", "constructor"].flatMap((field) =>
    ["join", "leave", "message", "history"].map((action) =>
      frame(
        `${action} with the field ${JSON.stringify(field)}`,
        { action, ...(action === "message" && { payload: 1 }), [field]: {} },
        field,
      ),
    ),
  ),
  ...["join", "leave", "message", "history"].flatMap((action) => [
    optioned(`${action} with an unknown option`, action, { other: 1 }, "options.other"),
    optioned(`${action} with seq`, action, { seq: 1 }, "options.seq"),
  ]),
  ...["leave", "message", "history"].map((action) =>
    optioned(`${action} with after`, action, { after: 0 }, "options.after"),
  ),
  ...["join", "leave"].map((action) =>
    optioned(`${action} with socketId`, action, { socketId: "x" }, "options.socketId"),
  ),
  ...["join", "leave", "history"].map((action) =>
    optioned(`${action} with authenticated`, action, { authenticated: true }, "options.authenticated"),
  ),
  frame("a message without payload", { action: "message" }, "payload"),
  ...[1, "", [], {}, true].flatMap((payload) =>
    ["leave", "history"].map((action) =>
      frame(`${action} with the payload ${JSON.stringify(payload)}`, { action, payload }, "payload"),
    ),
  ),
  ...[1, "", [], true].map((payload) =>
    frame(`join with the payload ${JSON.stringify(payload)}`, { action: "join", payload }, "payload"),
  ),
  ...["history", "presence"].flatMap((wish) =>
    [null, 0, 1, "true", [], {}].map((value) =>
      frame(
        `join with ${wish} ${JSON.stringify(value)}`,
        { action: "join", payload: { [wish]: value } },
        `payload.${wish}`,
      ),
    ),
  ),
  frame("join with an unknown wish", { action: "join", payload: { messages: true } }, "payload.messages"),
];

const OPTIONS: Case[] = [
  ...[-1, -0.5, 1.5, 9_007_199_254_740_992, 1e300, "0", "", null, true, [0], {}].map((after) =>
    optioned(`after ${JSON.stringify(after)}`, "join", { after }, "options.after"),
  ),
  ...[null, 1, true, [], {}, "x".repeat(65)].map((socketId) =>
    optioned(`socketId ${JSON.stringify(socketId).slice(0, 20)}`, "message", { socketId }, "options.socketId"),
  ),
  ...["", "nobody", "*", "__proto__", "00000000-0000-0000-0000-000000000000"].map((socketId) =>
    optioned(`socketId ${JSON.stringify(socketId)}`, "message", { socketId }, "options.socketId", "unknown-recipient"),
  ),
  ...[null, 0, 1, "true", [], {}].map((authenticated) =>
    optioned(`authenticated ${JSON.stringify(authenticated)}`, "message", { authenticated }, "options.authenticated"),
  ),
  [
    "a message for the authenticated, by an anonymous client",
    (options) => JSON.stringify({ action: "message", options: { ...options, authenticated: true }, payload: 1 }),
    "unauthorized",
  ],
];

const valueOf = (payload: string) => (options: object) =>
  `{"action":"message","options":${JSON.stringify(options)},"payload":${payload}}`;
/** A frame of so many bytes, its payload of these characters. */
function sized(bytes: number, character: string): (options: object) => string {
  return (options) => {
    const room = bytes - valueOf('""')(options).length;
    const width = new TextEncoder().encode(character).length;
    return valueOf(JSON.stringify(character.repeat(Math.floor(room / width)) + "x".repeat(room % width)))(options);
  };
}

const PAYLOADS: Case[] = [
  ...["x", "é", "日", "😀"].map((character): Case => [
    `one byte too many, of ${character}`,
    sized(MAX_BYTES + 1, character),
    "too-large",
  ]),
  ["ten times the bytes", sized(MAX_BYTES * 10, "x"), "too-large"],
  ["one level too many", valueOf("[".repeat(MAX_LEVELS) + "]".repeat(MAX_LEVELS)), "too-deep"],
  ["one level too many, of objects", valueOf('{"a":'.repeat(MAX_LEVELS) + "1" + "}".repeat(MAX_LEVELS)), "too-deep"],
  ["10,000 levels", valueOf("[".repeat(10_000) + "]".repeat(10_000)), "too-deep"],
  ...["1e309", "-1e400", "[1e999]", '{"a":[1e999]}'].map((number): Case => [
    `the number ${number}`,
    valueOf(number),
    "invalid-number",
  ]),
  ...["01", "1.", "+1", "0x1", "NaN", "Infinity", "undefined", "'a'", '"\\x41"', '"\u0001"', ""].map((text): Case => [
    `the payload ${JSON.stringify(text)}`,
    valueOf(text),
    "invalid-json",
  ]),
];

const CASES: Case[] = [...TEXTS, ...ACTIONS, ...FIELDS, ...OPTIONS, ...PAYLOADS];
/** How many there are: a table that loses cases by mistake does not pass. */
const COUNT = 181;

/** A client that has joined the channel. */
async function joined(path: string): Promise<TestSocket> {
  const socket = await opened(path);
  socket.send({ action: "join", options: { channel } });
  expect((await socket.frame()).action).toBe("join");
  return socket;
}

/**
 * Sends a message that must arrive next, at the sender and at another client, with the next number: whatever was sent before
 * has changed nothing (ERR3).
 */
async function expectNothingElse(socket: TestSocket): Promise<void> {
  const payload = crypto.randomUUID();
  socket.send({ action: "message", options: { channel }, payload });
  last += 1;
  for (const each of [socket, observer]) {
    expect(await each.frame()).toMatchObject({ action: "message", options: { seq: last }, payload });
  }
}

describe.each([
  ["a channel's socket", () => `${pathOf(channel)}/socket`],
  ["a multiplexed connection", () => "/rt/canonical"],
])("a frame that is refused changes nothing, over %s (ERR2, ERR3, LIM1, LIM2, LIM3)", (_, path) => {
  it("has as many cases as expected", () => {
    expect(CASES).toHaveLength(COUNT);
  });

  it.each(CASES)("%s", async (_name, make, code, field) => {
    const socket = await joined(path());
    socket.send(make({ channel }));
    const { action, payload } = await socket.frame();
    expect([action, (payload as { code: string }).code]).toEqual(["error", code]);
    if (field !== undefined) expect((payload as { field: string }).field).toBe(field);
    await expectNothingElse(socket);
    socket.socket.close();
  });
});

describe("a frame for another channel than its socket's", () => {
  const NAMES = [1, null, true, [], {}, "", "/", "a/", "a b", "*", "..", "x".repeat(129)];
  it.each(NAMES)("is refused if it names no valid channel: %j", async (name) => {
    for (const path of [`${pathOf(channel)}/socket`, "/rt/canonical"]) {
      const socket = await joined(path);
      for (const action of ["join", "leave", "message", "history"]) {
        socket.send({ action, options: { channel: name }, ...(action === "message" && { payload: 1 }) });
        const { payload } = await socket.frame();
        expect(payload, action).toMatchObject({ code: "invalid-field", field: "options.channel" });
      }
      await expectNothingElse(socket);
      socket.socket.close();
    }
  });

  it("is refused on a channel's own socket, even if the other channel is open", async () => {
    const other = await newOpenChannel();
    const socket = await joined(`${pathOf(channel)}/socket`);
    for (const action of ["join", "leave", "message", "history"]) {
      socket.send({ action, options: { channel: other }, ...(action === "message" && { payload: 1 }) });
      expect((await socket.frame()).action, action).toBe("error");
    }
    await expectNothingElse(socket);
    socket.socket.close();
  });

  it("is refused on a multiplexed connection that has not joined the channel (MUX2)", async () => {
    const other = await newOpenChannel();
    const socket = await joined("/rt/canonical");
    for (const action of ["leave", "message", "history"]) {
      socket.send({ action, options: { channel: other }, ...(action === "message" && { payload: 1 }) });
      const { options, payload } = await socket.frame();
      expect({ options, payload }, action).toMatchObject({
        options: { channel: other },
        payload: { code: "not-joined" },
      });
    }
    socket.send({ action: "message", payload: 1 });
    expect((await socket.frame()).payload).toMatchObject({ code: "invalid-field", field: "options.channel" });
    await expectNothingElse(socket);
    socket.socket.close();
  });
});

describe("a frame that looks wrong but is valid", () => {
  const GOOD: [name: string, make: (options: object) => string, payload: unknown][] = [
    ["as many bytes as allowed", sized(MAX_BYTES, "x"), expect.any(String)],
    ["as many bytes as allowed, of 日", sized(MAX_BYTES, "日"), expect.any(String)],
    ["as many levels as allowed", valueOf("[".repeat(MAX_LEVELS - 1) + "]".repeat(MAX_LEVELS - 1)), expect.any(Array)],
    ["null", valueOf("null"), null],
    ["an empty text", valueOf('""'), ""],
    ["a frame in a frame", valueOf('{"action":"leave","options":{}}'), { action: "leave", options: {} }],
    ["a prototype", valueOf('{"__proto__":{"polluted":true}}'), JSON.parse('{"__proto__":{"polluted":true}}')],
    ["white space around it", (options) => `\n ${valueOf("1")(options)}\t`, 1],
    ["a payload twice", valueOf('1,"payload":2'), 2],
    ["the action twice", (options) => `{"action":"leave",${valueOf("1")(options).slice(1)}`, 1],
  ];
  it.each(GOOD)("%s", async (_, make, payload) => {
    for (const path of [`${pathOf(channel)}/socket`, "/rt/canonical"]) {
      const socket = await joined(path);
      socket.send(make({ channel }));
      last += 1;
      for (const each of [socket, observer]) {
        const received: Frame = await each.frame();
        expect(received).toMatchObject({ action: "message", options: { seq: last } });
        expect(received.payload).toEqual(payload);
      }
      await expectNothingElse(socket);
      expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
      socket.socket.close();
    }
  });

  it("a join after a position beyond the last message is answered, and reveals nothing (RES2)", async () => {
    const socket = await joined(`${pathOf(channel)}/socket`);
    for (const after of [last + 1, Number.MAX_SAFE_INTEGER]) {
      socket.send({ action: "join", options: { channel, after } });
      expect((await socket.frame()).options).toMatchObject({ resumed: false, reason: "ahead", seq: last });
    }
    await expectNothingElse(socket);
    socket.socket.close();
  });
});
