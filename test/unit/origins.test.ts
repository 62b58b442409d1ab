import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { app } from "../../src/http/app.ts";

afterEach(() => vi.restoreAllMocks());

const ADDRESS = "https://channels.test/problems/internal";

/** Whether a page of this origin may ask, by its answer and by the header that lets the page read it. */
async function ask(Origin: string, bindings: object, url = ADDRESS): Promise<string> {
  const answer = await app.request(url, { headers: { Origin } }, { ...env, ...bindings });
  const readers = answer.headers.get("Access-Control-Allow-Origin");
  if (answer.status === 403) {
    expect(await answer.json()).toMatchObject({ type: "/problems/wrong-origin", field: "Origin" });
    expect(readers).toBe("*");
    return "refused";
  }
  expect([answer.status, ["*", ""].includes(readers ?? "none")]).toEqual([200, false]);
  return readers === null ? "same" : "allowed";
}

describe("this server's own origin (LIM9)", () => {
  it.each([
    ["https://channels.test", "https://channels.test/problems/internal", "same"],
    ["https://channels.test:443", "https://channels.test/problems/internal", "same"],
    ["http://channels.test", "http://channels.test/problems/internal", "same"],
    ["http://localhost:8787", "http://localhost:8787/problems/internal", "same"],
    ["http://channels.test", "https://channels.test/problems/internal", "refused"],
    ["https://channels.test", "http://channels.test/problems/internal", "refused"],
    ["https://channels.test:8443", "https://channels.test/problems/internal", "refused"],
    ["http://channels.test:443", "https://channels.test/problems/internal", "refused"],
    ["http://localhost:3000", "http://localhost:8787/problems/internal", "refused"],
    ["wss://channels.test", "https://channels.test/problems/internal", "refused"],
    ["https://channels.test.evil.test", "https://channels.test/problems/internal", "refused"],
    ["https://channels.test@evil.test", "https://channels.test/problems/internal", "refused"],
    ["https://channels.test/path", "https://channels.test/problems/internal", "refused"],
    ["https://channels.test, https://evil.test", "https://channels.test/problems/internal", "refused"],
  ])("is scheme, host and port: a page of %s at %s is %s", async (origin, url, expected) => {
    expect(await ask(origin, { ALLOWED_ORIGINS: "" }, url)).toBe(expected);
  });
});

describe("ALLOWED_ORIGINS (LIM9)", () => {
  it.each([
    ["https://front.test", "https://front.test", "allowed"],
    ["https://front.test/", "https://front.test", "allowed"],
    ["HTTPS://Front.Test", "https://front.test", "allowed"],
    ["https://front.test:443", "https://front.test", "allowed"],
    ["http://front.test:80/", "http://front.test", "allowed"],
    ["https://front.test:8443", "https://front.test:8443", "allowed"],
    [" https://other.test ,, https://front.test ", "https://front.test", "allowed"],
    ["https://b\u00fccher.test", "https://xn--bcher-kva.test", "allowed"],
    ["capacitor://localhost", "capacitor://localhost", "allowed"],
    ["*", "https://anything.test", "allowed"],
    ["https://front.test", "http://front.test", "refused"],
    ["http://front.test", "https://front.test", "refused"],
    ["https://front.test", "https://front.test:8443", "refused"],
    ["https://front.test", "https://sub.front.test", "refused"],
    ["", "https://front.test", "refused"],
  ])("%j is normalized: a page of %s is %s", async (allowed, origin, expected) => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    expect(await ask(origin, { ALLOWED_ORIGINS: allowed })).toBe(expected);
    expect(logged).not.toHaveBeenCalled();
  });

  it.each(["*", "null", "null,*"])(
    "never allows the origin null, which any sandboxed page has: %j",
    async (allowed) => {
      vi.spyOn(console, "error").mockImplementation(() => {});
      expect(await ask("null", { ALLOWED_ORIGINS: allowed })).toBe("refused");
    },
  );

  it.each([
    "front.test",
    "https://front.test/app",
    "https://front.test?",
    "https://front.test#",
    "https://user@front.test",
    "https://*.front.test",
    "https://",
    "null",
    "//front.test",
    "https:front.test",
  ])("reports an entry that is not an origin once, and never matches it: %j", async (entry) => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const allowed = `https://good.test,${entry}`;
    for (const origin of ["https://front.test", "https://sub.front.test", entry]) {
      expect(await ask(origin, { ALLOWED_ORIGINS: allowed })).toBe("refused");
    }
    expect(await ask("https://good.test", { ALLOWED_ORIGINS: allowed })).toBe("allowed");
    expect(logged.mock.calls).toEqual([[expect.objectContaining({ message: "allowed origin not usable", entry })]]);
  });
});

describe("pages of this machine (LIM9)", () => {
  const PAGES = [
    "http://localhost",
    "http://localhost:5173",
    "https://localhost:3000",
    "http://127.0.0.1:5173",
    "https://127.0.0.1",
    "http://[::1]:5173",
    "https://[::1]",
  ];

  it.each(PAGES)("are allowed by a development server, without being listed: %s", async (origin) => {
    for (const LOCAL_HOSTS of ["", "my-machine"]) {
      const url = "http://localhost:8787/problems/internal";
      expect(await ask(origin, { LOCAL_HOSTS, ALLOWED_ORIGINS: "https://front.test" }, url)).toBe("allowed");
    }
  });

  it.each(PAGES)("are refused by a deployed server: %s", async (origin) => {
    expect(await ask(origin, { ALLOWED_ORIGINS: "https://front.test" })).toBe("refused");
    expect(await ask(origin, { ALLOWED_ORIGINS: `https://front.test,${origin}` })).toBe("allowed");
  });

  it.each([
    "https://evil.test",
    "http://evil.test:5173",
    "http://localhost.evil.test",
    "http://app.localhost:5173",
    "http://evil-localhost:5173",
    "http://localhost.:5173",
    "http://127.0.0.1.evil.test",
    "http://127.0.0.2:5173",
    "http://192.168.1.7:5173",
    "http://0.0.0.0:5173",
    "http://[::]:5173",
    "http://[::ffff:127.0.0.1]:5173",
    "http://localhost:5173@evil.test",
    "http://localhost:5173, https://evil.test",
    "http://localhost:99999",
    "ws://localhost:5173",
    "file://localhost",
    "capacitor://localhost",
    "chrome-extension://localhost",
    "null",
  ])("are these only: a development server refuses %s", async (origin) => {
    const url = "http://localhost:8787/problems/internal";
    expect(await ask(origin, { LOCAL_HOSTS: "my-machine", ALLOWED_ORIGINS: "" }, url)).toBe("refused");
  });
});

describe("a page whose origin is not allowed (LIM9)", () => {
  const from = (Origin: string, init: RequestInit = {}) =>
    app.request(ADDRESS, { ...init, headers: { ...(init.headers as Record<string, string>), Origin } }, env);

  it.each([
    ["https://evil.test", "https://evil.test"],
    ["HTTPS://Evil.Test:443/", "https://evil.test"],
    ["http://localhost:5173", "http://localhost:5173"],
  ])("reads what to do about it: %s", async (origin, named) => {
    const { detail } = await (await from(origin)).json<{ detail: string }>();
    expect(detail).toContain(`Pages of ${named} `);
    expect(detail).toContain("ALLOWED_ORIGINS");
  });

  it.each(["null", "https://evil.test/path", "not an origin", `https://${"x".repeat(8_000)}.test`])(
    "reads why it cannot be listed, in few words: %j",
    async (origin) => {
      const { detail } = await (await from(origin)).json<{ detail: string }>();
      expect(detail).not.toContain("ALLOWED_ORIGINS");
      expect(detail.length).toBeLessThan(200);
    },
  );

  it.each(["GET", "POST", "PUT", "DELETE"])("may send its %s, which is refused", async (method) => {
    const headers = {
      "Access-Control-Request-Method": method,
      "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    };
    const refused = await from("https://evil.test", { method: "OPTIONS", headers });
    const allowed = await from("https://front.test", { method: "OPTIONS", headers });
    expect([refused.status, await refused.text()]).toEqual([204, ""]);
    expect(refused.headers.get("Access-Control-Allow-Origin")).toBe("*");
    for (const name of ["Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age"]) {
      expect(refused.headers.get(name), name).toBe(allowed.headers.get(name));
    }
    expect(refused.headers.has("Access-Control-Allow-Credentials")).toBe(false);
    const answer = await from("https://evil.test", { method });
    expect([answer.status, answer.headers.get("Access-Control-Allow-Origin")]).toEqual([403, "*"]);
  });

  it("gets the refusal for an OPTIONS that is no preflight", async () => {
    const answer = await from("https://evil.test", { method: "OPTIONS" });
    expect([answer.status, await answer.json()]).toMatchObject([403, { type: "/problems/wrong-origin" }]);
  });

  it("cannot read other refusals, neither of its address nor of its path", async () => {
    const bindings = { ...env, RATE_LIMITER: { limit: async () => ({ success: false }) } };
    for (const path of ["/health", "/nothing", "/openapi.json"]) {
      const headers = { Origin: "https://evil.test" };
      const answer = await app.request(`https://channels.test${path}`, { headers }, bindings);
      expect([answer.status, await answer.json()]).toMatchObject([403, { type: "/problems/wrong-origin" }]);
    }
  });
});
