import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { app } from "../../src/http/app.ts";

afterEach(() => vi.restoreAllMocks());

/** Whether a page of this origin may ask, by its answer and by the header that lets the page read it. */
async function ask(Origin: string, allowed: string, url = "https://channels.test/problems/internal"): Promise<string> {
  const answer = await app.request(url, { headers: { Origin } }, { ...env, ALLOWED_ORIGINS: allowed });
  if (answer.status === 403) {
    expect(await answer.json()).toMatchObject({ type: "/problems/wrong-origin", field: "Origin" });
    return "refused";
  }
  expect(answer.status).toBe(200);
  return answer.headers.get("Access-Control-Allow-Origin") === null ? "same" : "allowed";
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
    expect(await ask(origin, "", url)).toBe(expected);
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
    expect(await ask(origin, allowed)).toBe(expected);
    expect(logged).not.toHaveBeenCalled();
  });

  it.each(["*", "null", "null,*"])(
    "never allows the origin null, which any sandboxed page has: %j",
    async (allowed) => {
      vi.spyOn(console, "error").mockImplementation(() => {});
      expect(await ask("null", allowed)).toBe("refused");
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
  ])("reports an entry that is no origin once, and never matches it: %j", async (entry) => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const allowed = `https://good.test,${entry}`;
    for (const origin of ["https://front.test", "https://sub.front.test", entry]) {
      expect(await ask(origin, allowed)).toBe("refused");
    }
    expect(await ask("https://good.test", allowed)).toBe("allowed");
    expect(logged.mock.calls).toEqual([[expect.objectContaining({ message: "allowed origin not usable", entry })]]);
  });
});
