import { inject } from "vitest";
import { WebSocket } from "ws";
import { everything as walk, type HistoryPage, type Sighting } from "../support/checker.ts";
import { type Frame, Inbox } from "../support/frames.ts";

/** The server under test, and the server side's way to it. */
export interface Target {
  url: string;
  apiKey: string;
}

export const target = (): Target => ({ url: inject("baseUrl"), apiKey: inject("apiKey") });

export const newChannel = () => `e2e/${crypto.randomUUID()}`;

export function call({ url, apiKey }: Target, method: string, path: string, body?: unknown): Promise<Response> {
  return fetch(`${url}${path}`, {
    method,
    headers: { Authorization: `Bearer ${apiKey}`, "Content-Type": "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
  });
}

export async function publish(to: Target, channel: string, message: unknown): Promise<{ seq: number; time: string }> {
  const answer = await call(to, "POST", "/message", { channel, message });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
  return (await answer.json()) as { seq: number; time: string };
}

export async function publishAnonymously({ url }: Target, channel: string, message: unknown): Promise<void> {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${url}/message`, { method: "POST", headers, body: JSON.stringify({ channel, message }) });
  if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`);
}

export async function history(to: Target, channel: string, query = ""): Promise<{ seq: number; messages: Frame[] }> {
  const answer = await call(to, "GET", `/channels/${encodeURIComponent(channel)}/messages${query}`);
  if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`);
  return (await answer.json()) as { seq: number; messages: Frame[] };
}

/** Closes a channel to all but the users of an auth database, and makes a token for one of them. */
export async function tokenFor(at: Target, channel: string, id: number, extras: object = {}) {
  const database = `e2e-${crypto.randomUUID()}`;
  const dbo_id = Math.floor(Math.random() * 2 ** 40) + 1;
  await succeed(call(at, "PUT", `/databases/${database}`, { dbo_id, secret: "AUTH_SECRET", extras_claim: "extras" }));
  const settings = { database, message_history: 100, public_messaging: { active: true, auth: true } };
  await succeed(call(at, "PUT", `/channels/${encodeURIComponent(channel)}`, settings));
  const answer = await succeed(call(at, "POST", `/databases/${database}/tokens`, { id, extras }));
  return { channel, database, token: ((await answer.json()) as { token: string }).token };
}

async function succeed(request: Promise<Response>): Promise<Response> {
  const answer = await request;
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer;
}

/** Settings under which everybody may do everything. */
const OPEN = {
  anonymous_clients: true,
  presence: true,
  message_history: 25,
  public_messaging: { active: true },
  private_messaging: { active: true },
};

/** A channel of its own for a test, open to everybody. */
export async function newRoom(at: Target, settings: object = {}): Promise<string> {
  const channel = newChannel();
  await succeed(call(at, "PUT", `/channels/${encodeURIComponent(channel)}`, { ...OPEN, ...settings }));
  return channel;
}

/** The whole history of a channel, whose messages are texts. */
export function everything(from: Target, channel: string): Promise<Sighting[]> {
  return walk(channel, async (path) => (await call(from, "GET", path)).json() as Promise<HistoryPage>);
}

/** A real socket, with what it receives. */
export class TestSocket extends Inbox {
  constructor(readonly socket: WebSocket) {
    super(socket as unknown as EventTarget);
  }

  send(frame: object | string | Buffer): void {
    const raw = typeof frame === "string" || frame instanceof Buffer;
    this.socket.send(raw ? frame : JSON.stringify(frame));
  }
}

/** Opens a WebSocket at a path of the server. */
export async function open({ url }: Target, path: string, headers: Record<string, string> = {}): Promise<TestSocket> {
  const socket = new WebSocket(`${url.replace(/^http/, "ws")}${path}`, { headers });
  const inbox = new TestSocket(socket);
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  return inbox;
}

/** Connects as the server side, so that any channel may be used. */
export function connect(to: Target, channel: string): Promise<TestSocket> {
  return open(to, `/channels/${encodeURIComponent(channel)}/socket`, { Authorization: `Bearer ${to.apiKey}` });
}

/** A socket that has joined, its answer taken. */
export async function join(to: Target, channel: string, options: object = {}): Promise<TestSocket & { answer: Frame }> {
  const socket = await connect(to, channel);
  socket.send({ action: "join", options });
  return Object.assign(socket, { answer: await socket.frame() });
}
