import { env } from "cloudflare:workers";
import { SignJWT } from "jose";
import { API_KEY, request, TestSocket } from "../unit/support.ts";
import type { Settings } from "./oracle.ts";

/** The secret that vitest.config.ts binds as AUTH_SECRET. */
export const SECRET = new TextEncoder().encode("a secret of the tests, of at least 32 bytes");

export const pathOf = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

/** Sends a request, from an address of its own unless one is given: so no case meets the limits of another. */
export function ask(path: string, { headers, ...init }: RequestInit = {}, address?: string): Promise<Response> {
  const all = new Headers(headers);
  all.set("CF-Connecting-IP", address ?? crypto.randomUUID());
  return request(path, { ...init, headers: all });
}

/** Sends a JSON body, with these credentials. */
export function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const all = { "Content-Type": "application/json", ...headers };
  return ask(path, { method: "POST", headers: all, body: JSON.stringify(body) });
}

export const BY_API_KEY = { Authorization: `Bearer ${API_KEY}` };

/** Returns "yes" for a success, or else the code of the problem. Fails if a refusal is no problem (ERR1). */
export async function outcomeOf(answer: Response): Promise<string> {
  if (answer.ok) {
    await answer.arrayBuffer();
    return "yes";
  }
  const problem = await answer.json<{ type: string; status: number; title: string; detail: string }>();
  const { type, status, title, detail } = problem;
  const isProblem = answer.headers.get("Content-Type") === "application/problem+json" && status === answer.status;
  if (!isProblem || !title || !detail) return `no problem: ${answer.status} ${JSON.stringify(problem)}`;
  return type.replace("/problems/", "");
}

/** Opens a socket, or returns the code of the refusal. */
export async function open(path: string, headers: Record<string, string> = {}): Promise<TestSocket | string> {
  const answer = await ask(path, { headers: { Upgrade: "websocket", ...headers } });
  return socketFrom(answer) ?? outcomeOf(answer);
}

/** Opens a socket that must not be refused. */
export async function opened(path: string, headers: Record<string, string> = {}): Promise<TestSocket> {
  const socket = await open(path, headers);
  if (typeof socket === "string") throw new Error(`${path} is refused: ${socket}`);
  return socket;
}

export function socketFrom({ webSocket }: Response): TestSocket | undefined {
  if (!webSocket) return undefined;
  const socket = new TestSocket(webSocket);
  webSocket.accept();
  return socket;
}

/** Stores settings of many channels and patterns at once. No channel object is told. */
export async function storeSettings(stored: Record<string, Partial<Settings>>): Promise<void> {
  const rows = JSON.stringify(Object.entries(stored).map(([name, settings]) => [name, JSON.stringify(settings)]));
  await env.DB.prepare(
    "INSERT INTO channels (name, settings) SELECT value ->> 0, value ->> 1 FROM json_each(?) WHERE true" +
      " ON CONFLICT (name) DO UPDATE SET settings = excluded.settings",
  )
    .bind(rows)
    .run();
}

/** A token by HS256, with these claims and no others. */
export function signed(claims: object, secret = SECRET, header: object = {}): Promise<string> {
  return new SignJWT({ ...claims }).setProtectedHeader({ alg: "HS256", typ: "JWT", ...header }).sign(secret);
}

/** Runs `act` for each item, a few at the same time. */
export async function forEach<T>(items: readonly T[], act: (item: T) => Promise<void>, atOnce = 8): Promise<void> {
  const waiting = items.values();
  const work = async () => {
    for (const item of waiting) await act(item);
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}
