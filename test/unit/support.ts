import { runDurableObjectAlarm } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { vi } from "vitest";
import type { Channel } from "../../src/index.ts";
import { Inbox } from "../support/frames.ts";

/** One of the keys that vitest.config.ts binds as API_KEYS. */
export const API_KEY = "first-key";
const ORIGIN = "https://channels.test";

/** A channel that no other test uses, closed to all but the server side. */
export function newChannel(): string {
  return `test/${crypto.randomUUID()}`;
}

/** A channel that no other test uses, open to everyone. */
export async function newOpenChannel(settings: object = {}): Promise<string> {
  const channel = newChannel();
  const open = { anonymous_clients: true, message_history: 100, public_messaging: { active: true }, ...settings };
  const answer = await call("PUT", `/channels/${encodeURIComponent(channel)}`, open);
  if (!answer.ok) throw new Error(await answer.text());
  return channel;
}

export function stubOf(channel: string): DurableObjectStub<Channel> {
  return env.CHANNELS.getByName(channel);
}

/** A request to the Worker. */
export function request(path: string, init: RequestInit = {}): Promise<Response> {
  return exports.default.fetch(new Request(`${ORIGIN}${path}`, init));
}

/** A request with a JSON body, by the server side unless `key` says otherwise. */
export function call(method: string, path: string, body?: unknown, key: string | null = API_KEY): Promise<Response> {
  const headers = new Headers({ "Content-Type": "application/json" });
  if (key !== null) headers.set("Authorization", `Bearer ${key}`);
  return request(path, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
}

export interface Published {
  channel: string;
  seq: number;
  time: string;
}

export async function publish(channel: string, message: unknown): Promise<Published> {
  const answer = await call("POST", "/message", { channel, message });
  if (answer.status !== 201) throw new Error(await answer.text());
  return answer.json();
}

/** Publishes many messages, each given as its JSON text, by one call to the channel's object. */
export async function publishMany(channel: string, payloads: string[]): Promise<boolean[]> {
  const results = await stubOf(channel).publish(
    { kind: "server" },
    payloads.map((payload) => ({ payload })),
  );
  return results.map(({ ok }) => ok);
}

export interface Page {
  channel: string;
  seq: number;
  next: string | null;
  messages: { action: string; options: { seq: number; time: string }; payload: unknown }[];
}

export async function history(channel: string, query = ""): Promise<Page> {
  return page(`/channels/${encodeURIComponent(channel)}/messages${query}`);
}

export async function page(path: string): Promise<Page> {
  const answer = await call("GET", path);
  if (answer.status !== 200) throw new Error(await answer.text());
  return answer.json();
}

/** A socket of the runtime's, with what it receives. */
export class TestSocket extends Inbox {
  constructor(readonly socket: WebSocket) {
    super(socket);
  }

  send(frame: object | string | ArrayBuffer): void {
    const raw = typeof frame === "string" || frame instanceof ArrayBuffer;
    this.socket.send(raw ? frame : JSON.stringify(frame));
  }
}

export async function connect(channel: string, headers: Record<string, string> = {}): Promise<TestSocket> {
  const path = `/channels/${encodeURIComponent(channel)}/socket`;
  const answer = await request(path, { headers: { Upgrade: "websocket", ...headers } });
  if (!answer.webSocket) throw new Error(`${answer.status} ${await answer.text()}`);
  const socket = new TestSocket(answer.webSocket);
  answer.webSocket.accept();
  return socket;
}

/** A socket that has joined, its answer taken. */
export async function join(channel: string, options: object = {}, payload: object = {}): Promise<TestSocket> {
  const socket = await connect(channel);
  socket.send({ action: "join", options, payload });
  const answer = await socket.frame();
  if (answer.action !== "join") throw new Error(JSON.stringify(answer));
  return socket;
}

/** The rows of a channel in D1, once they are as many as expected; an alarm of the clock's may be at it. */
export async function drained(channel: string, count: number): Promise<{ seq: number; payload: string }[]> {
  await runDurableObjectAlarm(stubOf(channel));
  return vi.waitUntil(
    async () => {
      const rows = await archived(channel);
      return rows.length >= count && rows;
    },
    { timeout: 30_000, interval: 20 },
  );
}

/** The rows of a channel in D1. */
export async function archived(channel: string): Promise<{ seq: number; payload: string }[]> {
  const rows = await env.DB.prepare("SELECT seq, payload FROM messages WHERE channel = ? ORDER BY seq")
    .bind(channel)
    .all<{ seq: number; payload: string }>();
  return rows.results;
}
