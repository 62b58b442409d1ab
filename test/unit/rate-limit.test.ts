import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { MAX_BODY_BYTES } from "../../src/protocol/limits.ts";
import { OPERATIONS } from "../../src/docs/operations.ts";
import { ADDRESS_HEADER } from "../../src/channel/channel.ts";
import { app } from "../../src/http/app.ts";
import { API_KEY, newDatabase, newOpenChannel, stubOf, TestSocket, tokenOf } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

const URL = "https://channels.test";
const ADDRESS = "2001:db8:9:1::1";
const NETWORK = "2001:db8:9:1::/64";

/** A limit that lets so many requests pass, and the keys that it was asked for. */
function limitOf(requests: number) {
  const keys: string[] = [];
  const limit = ({ key }: { key: string }) => Promise.resolve({ success: keys.push(key) <= requests });
  return { keys, bindings: { ...env, STRANGERS: { limit } } };
}

/** Every route, and an address that nothing answers. */
const ROUTES = [
  ...OPERATIONS.map(({ method, path }) => ({ method: method.toUpperCase(), path: path.replaceAll(/\{\w+\}/g, "x") })),
  { method: "GET", path: "/nothing/here" },
  { method: "PATCH", path: "/message" },
  { method: "OPTIONS", path: "/message" },
];
const CREDENTIALS: [string, Record<string, string>][] = [
  ["no credentials", {}],
  ["a wrong API key or token", { Authorization: "Bearer wrong" }],
  ["a malformed Authorization", { Authorization: "Basic wrong" }],
  ["a wrong key as a subprotocol", { "Sec-WebSocket-Protocol": "durable-channels.v1, wrong" }],
];
const CASES = ROUTES.flatMap(({ method, path }) =>
  CREDENTIALS.map(([name, headers]) => [`${method} ${path}`, name, method, path, headers] as const),
);

/** A body whose reading is noticed. */
function watchedBody() {
  const pull = vi.fn((controller: ReadableStreamDefaultController) => {
    controller.enqueue(new TextEncoder().encode("{"));
    controller.close();
  });
  return { pull, stream: new ReadableStream({ pull }, { highWaterMark: 0 }) };
}

describe("the limit on requests per address (LIM7)", () => {
  it.each(CASES)("is checked first at %s, with %s", async (_, _name, method, path, headers) => {
    const { keys, bindings } = limitOf(0);
    const { pull, stream } = watchedBody();
    const answer = await app.request(
      `${URL}${path}`,
      {
        method,
        headers: { Upgrade: "websocket", "CF-Connecting-IP": ADDRESS, ...headers },
        ...(method !== "GET" && { body: stream }),
      },
      bindings,
    );
    expect(answer.status).toBe(429);
    expect(answer.headers.get("Content-Type")).toBe("application/problem+json");
    expect(Number(answer.headers.get("Retry-After"))).toBeGreaterThan(0);
    expect(await answer.json()).toMatchObject({ type: "/problems/rate-limited" });
    expect([keys, pull.mock.calls.length]).toEqual([[NETWORK], 0]);
  });

  it.each(ROUTES)("does not concern an API key at $method $path", async ({ method, path }) => {
    const { keys, bindings } = limitOf(0);
    const headers = { Authorization: `Bearer ${API_KEY}` };
    const answer = await app.request(`${URL}${path}`, { method, headers }, bindings);
    expect([answer.status === 429, keys]).toEqual([false, []]);
  });

  it.each([
    ["malformed", "application/json", "{"],
    ["with an unknown field", "application/json", '{"channel":"x","message":1,"mesage":2}'],
    ["too large", "application/json", "x".repeat(MAX_BODY_BYTES + 1)],
    ["of another type", "text/plain", "{}"],
  ])("counts a request once whose body is %s", async (_, type, body) => {
    const { keys, bindings } = limitOf(1);
    const headers = { "Content-Type": type, "CF-Connecting-IP": ADDRESS, "Content-Length": String(body.length) };
    const send = async () => (await app.request(`${URL}/message`, { method: "POST", headers, body }, bindings)).status;
    expect(await send()).toBeLessThan(429);
    expect([await send(), keys]).toEqual([429, [NETWORK, NETWORK]]);
  });

  it("counts a request from a page of another origin, and lets an allowed page read the refusal", async () => {
    const { keys, bindings } = limitOf(0);
    const from = (Origin: string) => app.request(`${URL}/health`, { headers: { Origin } }, bindings);
    const allowed = await from("https://front.test");
    expect([allowed.status, allowed.headers.get("Access-Control-Allow-Origin")]).toEqual([429, "https://front.test"]);
    expect([(await from("https://evil.test")).status, keys.length]).toEqual([403, 2]);
  });

  it("counts a batch once more for each of its channels", async () => {
    const channels = [await newOpenChannel(), await newOpenChannel(), await newOpenChannel()];
    const { keys, bindings } = limitOf(3);
    const body = JSON.stringify(channels.map((channel) => ({ channel, message: 1 })));
    const headers = { "Content-Type": "application/json", "CF-Connecting-IP": ADDRESS };
    const answer = await app.request(`${URL}/messages`, { method: "POST", headers, body }, bindings);
    const { results } = await answer.json<{ results: { status: number; retryAfter?: number }[] }>();
    expect(results.map(({ status }) => status)).toEqual([201, 201, 429]);
    expect(results[2]?.retryAfter).toBeGreaterThan(0);
    expect(keys.length).toBe(4);
  });
});

describe("the limit on requests per address over /rt/ (LIM7)", () => {
  async function open(bindings: object, headers: Record<string, string> = {}): Promise<TestSocket> {
    const all = { Upgrade: "websocket", "CF-Connecting-IP": ADDRESS, ...headers };
    const answer = await app.request(`${URL}/rt/any`, { headers: all }, bindings);
    if (!answer.webSocket) throw new Error(await answer.text());
    const socket = new TestSocket(answer.webSocket);
    answer.webSocket.accept();
    return socket;
  }
  const joinOf = (channel: string) => ({ action: "join", options: { channel } });

  it.each(["without credentials", "with a token"])("counts each join of a channel, %s", async (who) => {
    const database = await newDatabase();
    const channels = [await newOpenChannel({ database }), await newOpenChannel({ database })] as const;
    const token = who === "with a token" ? await tokenOf(database, 1) : undefined;
    const { keys, bindings } = limitOf(2);
    const fetch = vi.spyOn(Object.getPrototypeOf(stubOf(channels[1])) as DurableObjectStub, "fetch");
    const socket = await open(bindings, token === undefined ? {} : { "Sec-WebSocket-Protocol": token });
    expect(keys.length).toBe(1);
    socket.send(joinOf(channels[0]));
    expect((await socket.frame()).action).toBe("join");
    const [request] = fetch.mock.calls[0] as unknown as [Request];
    expect(request.headers.get(ADDRESS_HEADER)).toBe(NETWORK);
    socket.send(joinOf(channels[1]));
    const refused = await socket.frame();
    expect(refused).toMatchObject({ action: "error", options: { channel: channels[1] } });
    expect(refused.payload).toMatchObject({ code: "rate-limited", retryAfter: expect.any(Number) });
    expect([fetch.mock.calls.length, keys]).toEqual([1, [NETWORK, NETWORK, NETWORK]]);
    // What needs no new socket is not counted: the first channel is still joined.
    socket.send(joinOf(channels[0]));
    expect((await socket.frame()).action).toBe("join");
    expect(keys.length).toBe(3);
  });

  it("does not concern an API key", async () => {
    const { keys, bindings } = limitOf(0);
    const socket = await open(bindings, { Authorization: `Bearer ${API_KEY}` });
    socket.send(joinOf(await newOpenChannel()));
    expect((await socket.frame()).action).toBe("join");
    expect(keys).toEqual([]);
  });
});
