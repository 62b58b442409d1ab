import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { PROBE_AFTER_BYTES } from "../../src/adapters/xano/client-monitor.ts";
import { blocksOf } from "../support/documents.ts";
import { Server, START_TIMEOUT_MS } from "../support/server.ts";
import { call, open, publish, type Target, type TestSocket } from "./support.ts";

const DEMO = "marvel_chat_room";
const ROOM = "room/42";

/** One of its own, whose channels have the names of the examples. */
let server: Server;
let carol: Target;
beforeAll(async () => {
  server = await Server.start();
  await succeed("PUT", "/databases/heroes", { dbo_id: 1, secret: "AUTH_SECRET" });
  const open_ = { presence: true, message_history: 100, private_messaging: { active: true }, database: "heroes" };
  await succeed("PUT", `/channels/${encodeURIComponent(ROOM)}`, open_);
  const { token } = (await (await succeed("POST", "/databases/heroes/tokens", { id: 42 })).json()) as { token: string };
  carol = { url: server.url, apiKey: token };
}, START_TIMEOUT_MS);
afterAll(() => server.remove());

async function succeed(method: string, path: string, body: object): Promise<Response> {
  const answer = await call(server, method, path, body);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer;
}

/** Connects to a channel as a user or as an anonymous client. */
async function connect(channel: string, as?: Target): Promise<TestSocket> {
  const headers = as ? { Authorization: `Bearer ${as.apiKey}` } : {};
  const socket = await open(
    server,
    `/channels/${encodeURIComponent(channel)}/socket`,
    headers as Record<string, string>,
  );
  onTestFinished(() => socket.socket.terminate());
  return socket;
}

/** The next frame of an action. An `error` that was not waited for fails the test. */
async function next(socket: TestSocket, action: string): Promise<unknown> {
  for (;;) {
    const frame = await socket.frame();
    if (frame.action === action) return frame;
    if (frame.action === "error") throw new Error(JSON.stringify(frame.payload));
  }
}

/** How each rule's example comes to be sent. Given the example itself, for those that a client sends. */
const EXAMPLES: Record<string, (example: object) => Promise<unknown>> = {
  async PUB3() {
    const socket = await connect(DEMO);
    socket.send({ action: "join" });
    await next(socket, "join");
    await publish(server, DEMO, "Avengers, assemble!");
    return next(socket, "event");
  },
  async JOI1(example) {
    const socket = await connect(DEMO);
    socket.send(example);
    expect(await next(socket, "join")).toMatchObject({ payload: { history: true } });
    await next(socket, "history");
    return example;
  },
  async JOI2() {
    const socket = await connect(DEMO);
    socket.send({ action: "join", payload: { history: true } });
    return next(socket, "join");
  },
  async FRA3() {
    await publish(server, DEMO, "Avengers, assemble!");
    const socket = await connect(DEMO);
    socket.send({ action: "join", payload: { history: true } });
    const frame = (await next(socket, "history")) as { payload: unknown[] };
    return { ...frame, payload: frame.payload.slice(0, 1) };
  },
  async FRA5() {
    const [sender, recipient] = [await connect(ROOM, carol), await connect(ROOM, carol)];
    for (const socket of [sender, recipient]) socket.send({ action: "join" });
    await next(sender, "join");
    const { client } = (await next(recipient, "join")) as { client: { socketId: string } };
    sender.send({ action: "message", options: { socketId: client.socketId }, payload: "psst" });
    return next(recipient, "message");
  },
  async FRA6() {
    const socket = await connect(ROOM, server);
    socket.send({ action: "event", options: { id: "1f3a9c" }, payload: "assemble" });
    return next(socket, "ack");
  },
  async MUX7() {
    const socket = await open(server, "/rt/canonical", { Authorization: `Bearer ${carol.apiKey}` });
    onTestFinished(() => socket.socket.terminate());
    socket.send({ action: "join", options: { channel: ROOM } });
    await next(socket, "join");
    const batch = Array.from({ length: 15 }, () => ({ channel: ROOM, message: "x".repeat(60_000) }));
    for (let sent = 0; sent <= PROBE_AFTER_BYTES; sent += 15 * 60_000) await succeed("POST", "/messages", batch);
    return next(socket, "connection_status");
  },
  async PRE1() {
    const socket = await connect(ROOM, carol);
    socket.send({ action: "join", payload: { presence: true } });
    return next(socket, "presence_full");
  },
  async PRE2() {
    const [watcher, member] = [await connect(ROOM, carol), await connect(ROOM, carol)];
    watcher.send({ action: "join", payload: { presence: true } });
    await next(watcher, "presence_full");
    member.send({ action: "join" });
    await next(watcher, "presence_update");
    member.socket.close();
    return next(watcher, "presence_update");
  },
  async ERR2() {
    const socket = await connect(DEMO);
    socket.send({ action: "join", options: { after: -1 } });
    return next(socket, "error");
  },
};

/**
 * An example as what it stands for: `…` is any text and, after a comma, any further fields; positions, times and socket ids
 * are any of their kind.
 */
function patternOf(example: string): object {
  return JSON.parse(example.replaceAll(/,…(?=\})/g, ',"…":true'), (key, value: unknown) => {
    if (key === "seq") return expect.any(Number) as unknown;
    if (key === "time") return expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as unknown;
    if (key === "socketId" || value === "…") return expect.stringMatching(/^[\da-f-]{36}$/) as unknown;
    if (typeof value !== "object" || value === null || !("…" in value)) return value;
    const { "…": _, ...fields } = value;
    return expect.objectContaining(fields) as unknown;
  }) as object;
}

const lines = readFileSync("PROTOCOL.md", "utf8").split("\n");
const examples = blocksOf("PROTOCOL.md", "json").map(({ line, code }) => {
  const rule = lines.slice(0, line).findLast((text) => text.startsWith("- **")) ?? "";
  return { rule: /\*\*(\w+)\*\*/.exec(rule)?.[1] ?? "", line, code };
});

describe("each example of PROTOCOL.md", () => {
  it("belongs to a rule that is tested here, each once", () => {
    expect(examples.map(({ rule }) => rule).toSorted()).toEqual(Object.keys(EXAMPLES).toSorted());
  });

  it.each(examples)("is what the server sends or accepts ($rule)", async ({ rule, code }) => {
    const isSent = rule === "JOI1";
    const frame = await EXAMPLES[rule]?.(isSent ? (JSON.parse(code) as object) : {});
    expect(frame).toEqual(isSent ? JSON.parse(code) : patternOf(code));
  });
});
