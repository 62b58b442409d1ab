import { runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import { Log } from "../../src/channel/log.ts";
import type { Frame } from "../support/frames.ts";
import { call, channelWithShortLog, newDatabase, stubOf, tokenOf } from "../unit/support.ts";
import { type Caller, sees } from "./oracle.ts";
import { ask, BY_API_KEY, opened, pathOf, post } from "./support.ts";

/** Messages 1 … 30, of which the log holds the last 10; the others are in D1 alone. Every third is restricted. */
const COUNT = 30;
const IN_LOG = 10;
const isRestricted = (seq: number) => seq % 3 === 0;
/** A word in restricted messages only, which a search must not reveal. */
const SECRET_WORD = "vibranium";

const ALL = Array.from({ length: COUNT }, (_, index) => index + 1);

async function newChannelWithRestricted() {
  const database = await newDatabase();
  const channel = await channelWithShortLog(COUNT, IN_LOG, (seq) =>
    isRestricted(seq) ? { database, payload: JSON.stringify(`${SECRET_WORD} ${seq}`) } : {},
  );
  const open = { anonymous_clients: true, message_history: 1_000, public_messaging: { active: true }, database };
  await call("PUT", pathOf(channel), open);
  const token = await tokenOf(database, 42);
  const callers: [string, Caller, Record<string, string>][] = [
    ["an API key", { kind: "server side" }, BY_API_KEY],
    ["a user", { kind: "user", database }, { Authorization: `Bearer ${token}` }],
    ["an anonymous client", { kind: "anybody" }, {}],
  ];
  return { channel, database, callers };
}

const seqsOf = (frames: { options: { seq: number } }[]) => frames.map(({ options }) => options.seq);

/** All pages from a path on. */
async function walk(path: string, headers: Record<string, string>): Promise<number[][]> {
  const pages: number[][] = [];
  for (let next: string | null = path; next !== null;) {
    const page: { next: string | null; messages: Frame[] } = await (await ask(next, { headers })).json();
    pages.push(seqsOf(page.messages));
    next = page.next;
  }
  return pages;
}

/** Queries of history, which way they read, and which messages they ask for. */
const QUERIES: [query: string, direction: "forward" | "backward", asks: (seq: number) => boolean][] = [
  ["limit=1000", "backward", () => true],
  ["limit=7", "backward", () => true],
  ["limit=1", "backward", () => true],
  ["after=0&limit=1000", "forward", () => true],
  ["after=0&limit=4", "forward", () => true],
  ["after=2&limit=1", "forward", (seq) => seq > 2],
  ["before=22&limit=5", "backward", (seq) => seq < 22],
  ["after=5&before=25&limit=3", "forward", (seq) => seq > 5 && seq < 25],
  [`q=${SECRET_WORD}`, "backward", isRestricted],
  [`q=${SECRET_WORD}&after=0&limit=2`, "forward", isRestricted],
  ["q=VIBRANIUM%2030", "backward", (seq) => seq === 30],
  ["q=1&after=0", "forward", (seq) => String(seq).includes("1")],
  ["since=1970-01-01T00:00:00.000Z", "backward", () => true],
  ["since=1970-01-01T00:00:00.010Z&limit=3", "backward", (seq) => seq > 10],
  ["until=1970-01-01T00:00:00.012Z", "backward", (seq) => seq <= 12],
  [
    `q=${SECRET_WORD}&since=1970-01-01T00:00:00.005Z&until=1970-01-01T00:00:00.025Z`,
    "backward",
    (seq) => isRestricted(seq) && seq > 5 && seq <= 25,
  ],
];

it("pages of history show a restricted message to those it is for only, from the log and from D1 (EVT3)", async () => {
  const { channel, database, callers } = await newChannelWithRestricted();
  let count = 0;
  for (const [query, direction, asks] of QUERIES) {
    for (const [name, caller, headers] of callers) {
      const pages = await walk(`${pathOf(channel)}/messages?${query}`, headers);
      const found = (direction === "forward" ? pages : pages.toReversed()).flat();
      const visible = ALL.filter((seq) => asks(seq) && sees(caller, isRestricted(seq) ? database : null));
      expect(found, `${query} by ${name}`).toEqual(visible);
      count += 1;
    }
  }
  expect(count).toBe(QUERIES.length * 3);
});

it("a search for what only restricted messages hold looks like a search for what no message holds (HIS6)", async () => {
  const { channel } = await newChannelWithRestricted();
  const answerTo = async (q: string) => (await ask(`${pathOf(channel)}/messages?q=${q}`)).text();
  expect(await answerTo(SECRET_WORD)).toBe((await answerTo("adamantium")).replaceAll("adamantium", SECRET_WORD));
});

it("history frames and resumes show a restricted message to those it is for only (EVT3)", async () => {
  const { channel, database, callers } = await newChannelWithRestricted();
  for (const [path, headersOf] of [
    [`${pathOf(channel)}/socket`, "a channel's socket"],
    ["/rt/canonical", "a multiplexed connection"],
  ] as const) {
    for (const [name, caller, headers] of callers) {
      const isVisible = (seq: number) => sees(caller, isRestricted(seq) ? database : null);
      const inLog = ALL.slice(-IN_LOG).filter(isVisible);
      const socket = await opened(path, headers);
      const label = `${name} over ${headersOf}`;
      socket.send({ action: "join", options: { channel }, payload: { history: true } });
      const [, history] = await socket.frames(2);
      expect(seqsOf(history?.payload as Frame[]), label).toEqual(inLog);
      socket.socket.close();
      for (let after = COUNT - IN_LOG; after < COUNT; after++) {
        // A socket of its own, as LIM13 bounds how often one socket resumes.
        const resuming = await opened(path, headers);
        resuming.send({ action: "join", options: { channel, after } });
        const answer = await resuming.frame();
        const replayed = inLog.filter((seq) => seq > after);
        expect(answer.options, label).toMatchObject({ resumed: true, replayed: replayed.length });
        expect(seqsOf(await resuming.frames(replayed.length)), label).toEqual(replayed);
        resuming.socket.close();
      }
    }
  }
});

it("a restricted message reaches those it is for only, by whatever way it was sent (EVT1, FRA4)", async () => {
  const { channel, database, callers } = await newChannelWithRestricted();
  const token = await tokenOf(database, 7);
  const sender = await opened(`${pathOf(channel)}/socket`, { "Sec-WebSocket-Protocol": token });
  const user = { Authorization: `Bearer ${token}` };
  const join = { action: "join", options: { channel } };
  sender.send(join);
  await sender.frame();
  const receivers = [];
  for (const path of [`${pathOf(channel)}/socket`, `${pathOf(channel)}/socket?frames=batch`, "/rt/canonical"]) {
    for (const [name, caller, headers] of callers) {
      const socket = await opened(path, headers);
      socket.send(join);
      await socket.text();
      receivers.push({ name, caller, socket });
    }
  }
  await post("/message", { channel, message: "by an API key", database }, BY_API_KEY);
  await post("/message", { channel, message: "by a user", database }, user);
  await post("/messages", [{ channel, message: "in a batch", database }], user);
  sender.send({ action: "message", options: { channel, authenticated: true }, payload: "in a frame" });
  await sender.frames(4);
  await post("/message", { channel, message: "for everybody" }, BY_API_KEY);
  for (const { name, caller, socket } of receivers) {
    const texts: unknown[] = [];
    while (texts.at(-1) !== "for everybody") {
      const frames = [JSON.parse(await socket.text()) as Frame | Frame[]].flat();
      texts.push(...frames.map(({ payload }) => payload as unknown));
    }
    const restricted = ["by an API key", "by a user", "in a batch", "in a frame"];
    expect(texts, name).toEqual([...(sees(caller, database) ? restricted : []), "for everybody"]);
  }
  expect(await runInDurableObject(stubOf(channel), (_, { storage }) => new Log(storage).last)).toBe(COUNT + 5);
});

it("a message cannot be restricted to any other database (EVT2)", async () => {
  const { channel, database, callers } = await newChannelWithRestricted();
  const other = await newDatabase();
  for (const [name, { kind }, headers] of callers) {
    for (const wrong of [other, `${database}x`, database.toUpperCase(), "no-such-database"]) {
      const answer = await post("/message", { channel, message: "never stored", database: wrong }, headers);
      expect(answer.status, `${name}, ${wrong}`).toBe(kind === "anybody" ? 401 : 403);
      await answer.text();
    }
    for (const malformed of ["", "*", null, 1, [database], { name: database }]) {
      const answer = await post("/message", { channel, message: "never stored", database: malformed }, headers);
      expect(answer.status, `${name}, ${kind}, ${JSON.stringify(malformed)}`).toBe(400);
      await answer.text();
    }
  }
  const page: { seq: number } = await (await ask(`${pathOf(channel)}/messages`, { headers: BY_API_KEY })).json();
  expect(page.seq).toBe(COUNT);
});
