import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { vi } from "vitest";
import { MessageLog } from "../../src/channel/message-log.ts";
import { HistoryStore } from "../../src/archive/store.ts";
import type { Channel } from "../../src/index.ts";
import type { StoredMessage } from "../../src/protocol/frames.ts";
import { type Checker, everything, sightingsIn } from "../support/checker.ts";
import { type Frame, Inbox } from "../support/frames.ts";

/** One of the keys that vitest.config.ts binds as API_KEYS. */
export const API_KEY = "first-key-of-the-tests";
const ORIGIN = "https://channels.test";

/** Returns the name of a new channel, which admits only API-key clients. */
export function newChannel(): string {
  return `test/${crypto.randomUUID()}`;
}

/** Creates a new channel, open to all clients. Returns its name. */
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

/** Sends a request to the Worker. */
export function request(path: string, init: RequestInit = {}, origin = ORIGIN): Promise<Response> {
  return exports.default.fetch(new Request(`${origin}${path}`, init));
}

/** Sends a request with a JSON body, by default with an API key. */
export function call(method: string, path: string, body?: unknown, key: string | null = API_KEY): Promise<Response> {
  const headers = new Headers({ "Content-Type": "application/json" });
  if (key === null) headers.set("CF-Connecting-IP", crypto.randomUUID());
  else headers.set("Authorization", `Bearer ${key}`);
  return request(path, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
}

/** Stops the clock until the mocks are restored. Returns a function that moves it forward by milliseconds. */
export function stopClock(): (milliseconds: number) => void {
  let now = Date.now();
  vi.spyOn(Date, "now").mockImplementation(() => now);
  return (milliseconds) => {
    now += milliseconds;
  };
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

/**
 * Publishes many messages, each given as its JSON text, by one call to the channel's object.
 *
 * @param client The JSON text of the client that they are from.
 */
export async function publishMany(
  channel: string,
  payloads: string[],
  client: string | null = null,
): Promise<boolean[]> {
  const messages = payloads.map((payload) => ({ payload, client, database: null, type: null }));
  const [results = []] = await stubOf(channel).publish([{ who: { kind: "server" }, messages }]);
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

/** Returns all pages from one on, by following `next`. */
export async function walk(path: string, read = page): Promise<Page[]> {
  const pages = [await read(path)];
  for (let next = pages[0]?.next; next; next = pages.at(-1)?.next) pages.push(await read(next));
  return pages;
}

export const seqs = ({ messages }: Page) => messages.map(({ options }) => options.seq);
export const run = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

/**
 * A channel with messages 1 … count, of which the log holds only the last few: the rest is in D1 alone. Each is its own
 * number and one millisecond later than the one before it, unless `more` says otherwise.
 */
export async function channelWithShortLog(
  count: number,
  held: number,
  more: (seq: number) => Partial<StoredMessage> = () => ({}),
): Promise<string> {
  const channel = await newOpenChannel();
  const stub = stubOf(channel);
  const messages = run(1, count).map((seq) =>
    Object.assign(
      { seq, time: seq - 1, action: "event" as const, client: null, database: null, type: null, payload: String(seq) },
      more(seq),
    ),
  );
  for (let from = 0; from < count; from += 20) {
    const some = messages.slice(from, from + 20);
    const rows = some.map((m, index) => [m.seq, m.time, m.action, index, m.database, m.payload, m.type]);
    const clients = some.map(({ client }) => client);
    await new HistoryStore(env.DB).append(channel, { rows: JSON.stringify(rows), clients: JSON.stringify(clients) });
  }
  await runInDurableObject(stub, (_, { storage }) => new MessageLog(storage).start(messages.slice(count - held)));
  await evictDurableObject(stub);
  return channel;
}

/** A socket of the Workers runtime, and the frames that it receives. */
export class TestSocket extends Inbox {
  constructor(readonly socket: WebSocket) {
    super(socket);
  }

  send(frame: object | string | ArrayBuffer): void {
    const raw = typeof frame === "string" || frame instanceof ArrayBuffer;
    this.socket.send(raw ? frame : JSON.stringify(frame));
  }
}

export async function connect(channel: string, headers: Record<string, string> = {}, query = ""): Promise<TestSocket> {
  const path = `/channels/${encodeURIComponent(channel)}/socket${query}`;
  // Each socket has its own address, so that no test reaches the limits of another.
  const address = crypto.randomUUID();
  const answer = await request(path, { headers: { Upgrade: "websocket", "CF-Connecting-IP": address, ...headers } });
  if (!answer.webSocket) throw new Error(`${answer.status} ${await answer.text()}`);
  const socket = new TestSocket(answer.webSocket);
  answer.webSocket.accept();
  return socket;
}

/** Opens a multiplexed socket (`/rt/`). */
export async function connectToMany(headers: Record<string, string> = {}): Promise<TestSocket> {
  const all = { Upgrade: "websocket", "CF-Connecting-IP": crypto.randomUUID(), ...headers };
  const answer = await request("/rt/canonical", { headers: all });
  if (!answer.webSocket) throw new Error(`${answer.status} ${await answer.text()}`);
  const socket = new TestSocket(answer.webSocket);
  answer.webSocket.accept();
  return socket;
}

/** Connects and joins, with a token as a user. Returns the socket after the answer to the join. */
export async function join(
  channel: string,
  options: object = {},
  payload: object = {},
  token?: string,
): Promise<TestSocket & { client: NonNullable<Frame["client"]> }> {
  const socket = await connect(channel, token === undefined ? {} : { "Sec-WebSocket-Protocol": token });
  socket.send({ action: "join", options, payload });
  const { action, client, payload: granted } = await socket.frame();
  if (action !== "join" || !client) throw new Error(JSON.stringify(granted));
  return Object.assign(socket, { client });
}

/** Creates an auth database whose tokens are signed with the secret from vitest.config.ts. Returns its name. */
export async function newDatabase(config: object = {}): Promise<string> {
  const name = `db-${crypto.randomUUID()}`;
  const dbo_id = crypto.getRandomValues(new Uint32Array(1))[0];
  const answer = await call("PUT", `/databases/${name}`, {
    dbo_id,
    secret: "AUTH_SECRET",
    extras_claim: "extras",
    ...config,
  });
  if (!answer.ok) throw new Error(await answer.text());
  return name;
}

/** Returns a user's token. */
export async function tokenOf(database: string, id: number | string, more: object = {}): Promise<string> {
  const answer = await call("POST", `/databases/${database}/tokens`, { id, ...more });
  if (answer.status !== 201) throw new Error(await answer.text());
  return (await answer.json<{ token: string }>()).token;
}

type Statement = Record<"all" | "first" | "raw" | "run", () => Promise<unknown>> & {
  statement: string;
  /** The values that are bound to the statement. */
  params: unknown[];
};

/**
 * Puts a fault between the callers of D1 and the real D1: each statement whose SQL contains `part` goes through `fault`.
 *
 * @returns How often such a statement was sent, and a way to end the fault.
 */
export function faultyD1(part: string, fault: (send: () => Promise<unknown>) => Promise<unknown>) {
  const statements = Object.getPrototypeOf(env.DB.prepare("SELECT 1")) as Statement;
  const state = { sent: 0 };
  const spies = (["all", "first", "raw", "run"] as const).map((method) => {
    const send = statements[method];
    return vi.spyOn(statements, method).mockImplementation(function (this: Statement, ...options: []) {
      const real = () => send.apply(this, options);
      if (!this.statement.includes(part)) return real();
      state.sent += 1;
      return fault(real);
    });
  });
  return Object.assign(state, { end: () => spies.forEach((spy) => spy.mockRestore()) });
}

/** Causes a real fault: while a table of D1 is renamed, every statement on it fails. */
export async function whileAway<T>(table: "messages" | "channels", act: () => Promise<T>): Promise<T> {
  await takeAway(table);
  try {
    return await act();
  } finally {
    await bringBack(table);
  }
}

export async function takeAway(table: "messages" | "channels"): Promise<void> {
  await env.DB.exec(`ALTER TABLE ${table} RENAME TO ${table}_away`);
}

export async function bringBack(table: "messages" | "channels"): Promise<void> {
  await env.DB.exec(`ALTER TABLE ${table}_away RENAME TO ${table}`);
}

/** Returns each violated guarantee of a channel (test/support/checker.ts) once its backlog is empty. */
export async function faultsOf(checker: Checker, channel: string): Promise<string[]> {
  const kept = await everything(channel, page);
  return checker.faults(kept, sightingsIn(await drained(channel, kept.length)));
}

/**
 * Puts itself between the object and the real D1: each statement that writes goes through it. `mockRestore` ends that.
 *
 * @param fault Gets the write, and the values that it binds.
 */
export function interceptWrites(fault: (write: () => Promise<unknown>, params: unknown[]) => Promise<unknown>): {
  mockRestore: () => void;
} {
  const statements = Object.getPrototypeOf(env.DB.prepare("SELECT 1")) as Statement;
  const { run: original } = statements;
  const runs = vi.spyOn(statements, "run").mockImplementation(function (this: Statement) {
    return fault(() => original.call(this), this.params);
  });
  const database = Object.getPrototypeOf(env.DB) as { batch: (batched: Statement[]) => Promise<unknown> };
  const { batch } = database;
  const batches = vi.spyOn(database, "batch").mockImplementation(function (this: typeof database, batched) {
    return fault(
      () => batch.call(this, batched),
      batched.flatMap(({ params }) => params),
    );
  });
  return {
    mockRestore: () => {
      runs.mockRestore();
      batches.mockRestore();
    },
  };
}

/** Returns how many messages a statement inserts into the archive. */
export function messagesIn([, , rows]: unknown[]): number {
  return (JSON.parse(rows as string) as unknown[]).length;
}

/** Waits until D1 has the expected number of rows of a channel, and returns them. */
async function drained(channel: string, count: number): Promise<{ seq: number; payload: string }[]> {
  await runDurableObjectAlarm(stubOf(channel));
  return vi.waitUntil(
    async () => {
      const rows = await archived(channel);
      return rows.length >= count && rows;
    },
    { timeout: 30_000, interval: 20 },
  );
}

/** Returns the rows of a channel in D1. */
export async function archived(channel: string): Promise<{ seq: number; payload: string }[]> {
  const rows = await env.DB.prepare("SELECT seq, payload FROM messages WHERE channel = ? ORDER BY seq")
    .bind(channel)
    .all<{ seq: number; payload: string }>();
  return rows.results;
}
