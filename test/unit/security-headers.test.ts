import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { OPERATIONS } from "../../src/docs/operations.ts";
import { app } from "../../src/http/app.ts";
import { MAX_BODY_BYTES } from "../../src/protocol/limits.ts";
import { API_KEY, newDatabase, newOpenChannel } from "./support.ts";

/** The headers of every answer, by SRV5. */
const EXPECTED = {
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "Strict-Transport-Security": "max-age=31536000",
  "Cache-Control": "no-store",
};

function expectSecured(answer: Response): void {
  const found = Object.keys(EXPECTED).map((name) => [name, answer.headers.get(name)]);
  expect(Object.fromEntries(found)).toEqual(EXPECTED);
}

let names: Record<string, string>;
beforeAll(async () => {
  names = {
    channel: await newOpenChannel({ presence: true }),
    name: await newDatabase(),
    canonical: "any",
    code: "internal",
  };
});

const filled = (path: string) => path.replace(/\{(\w+)\}/, (_, name: string) => encodeURIComponent(names[name] ?? ""));

const bodies: Record<string, () => unknown> = {
  publish: () => ({ channel: names["channel"], message: 1 }),
  publishMany: () => [{ channel: names["channel"], message: 1 }],
  writeSettings: () => ({ anonymous_clients: true, message_history: 25 }),
  writeDatabase: () => ({ dbo_id: 4_711, secret: "AUTH_SECRET" }),
  makeToken: () => ({ id: 42 }),
  disconnectUsers: () => ({}),
};

/** What removes something is sent last. */
const ordered = OPERATIONS.toSorted(
  (one, other) => Number(one.method === "delete") - Number(other.method === "delete"),
);

describe("the headers of an answer (SRV5)", () => {
  it.each(ordered)("are there where it succeeds: $method $path", async ({ id, method, path, answer }) => {
    const body = bodies[id]?.();
    const init = {
      method: method.toUpperCase(),
      headers: { Authorization: `Bearer ${API_KEY}`, "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
    };
    const received = await app.request(`https://channels.test${filled(path)}`, init, env);
    // Without an upgrade a socket's address is refused.
    expect(received.status).toBe(answer.status === 101 ? 426 : answer.status);
    expectSecured(received);
  });

  it.each<[number, string, RequestInit, object]>([
    [400, "/message", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{" }, {}],
    [401, "/channels", {}, {}],
    [401, "/channels", { headers: { Authorization: "Basic x" } }, {}],
    [403, "/health", { headers: { Origin: "https://evil.test" } }, {}],
    [404, "/nothing", {}, {}],
    [404, "/problems/nothing", {}, {}],
    [413, "/message", { method: "POST", body: "x".repeat(MAX_BODY_BYTES + 1) }, {}],
    [413, "/message", { method: "POST", body: new Blob(["x".repeat(MAX_BODY_BYTES + 1)]).stream() }, {}],
    [415, "/message", { method: "POST", headers: { "Content-Type": "text/plain" }, body: "x" }, {}],
    [429, "/health", {}, { STRANGERS: { limit: async () => ({ success: false }) } }],
    [500, "/channels", { headers: { Authorization: "Bearer x" } }, { API_KEYS: {} }],
    [503, "/databases", { headers: { Authorization: `Bearer ${API_KEY}` } }, { DB: { prepare: () => fail() } }],
    [204, "/message", { method: "OPTIONS", headers: { Origin: "https://front.test" } }, {}],
    [200, "/problems/internal", { headers: { Origin: "https://front.test" } }, {}],
    [200, "/problems/internal", { method: "HEAD" }, {}],
  ])("are there with %i at %s", async (status, path, init, bindings) => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const answer = await app.request(`https://channels.test${path}`, init, { ...env, ...bindings });
    expect(answer.status).toBe(status);
    expectSecured(answer);
  });

  it("ask for https only where the request came by it (RFC 6797, section 7.2)", async () => {
    const answer = await app.request("http://channels.test/problems/internal", {}, env);
    expect(answer.headers.has("Strict-Transport-Security")).toBe(false);
    expect(answer.headers.get("X-Content-Type-Options")).toBe("nosniff");
  });

  it("let a page of an allowed origin read the answer, a refusal for its size too (LIM9)", async () => {
    const headers = { Origin: "https://front.test" };
    const body = "x".repeat(MAX_BODY_BYTES + 1);
    const tooLarge = await app.request("https://channels.test/message", { method: "POST", headers, body }, env);
    expect([tooLarge.status, tooLarge.headers.get("Access-Control-Allow-Origin")]).toEqual([413, "https://front.test"]);
  });
});

function fail(): never {
  throw new Error("D1_ERROR: on purpose");
}
