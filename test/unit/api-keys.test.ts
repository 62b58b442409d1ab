import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { app } from "../../src/http/app.ts";

afterEach(() => vi.restoreAllMocks());

async function isTaken(key: string, API_KEYS: string): Promise<boolean> {
  const headers = { Authorization: `Bearer ${key}` };
  const { status } = await app.request("/channels", { headers }, { ...env, API_KEYS });
  expect([200, 401]).toContain(status);
  return status === 200;
}

const GOOD = "a-key-that-is-long-enough";
const SHORTEST = "sixteen-letters!";

describe("the secret API_KEYS (AUT1)", () => {
  it.each([GOOD, SHORTEST, "x".repeat(256)])("holds keys of 16 to 256 visible characters: %s", async (key) => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    expect(await isTaken(key, ` ${key} ,, `)).toBe(true);
    expect(logged).not.toHaveBeenCalled();
  });

  it.each([
    ["too short", SHORTEST.slice(1)],
    ["one character", "x"],
    ["too long", "x".repeat(257)],
    ["with a space", "a key with spaces in it"],
    ["not ASCII", "schl\u00fcssel-schl\u00fcssel"],
  ])("of which one that is %s is ignored and reported once, by its place; the others count", async (_, key) => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const keys = `${GOOD},${key}`;
    for (let n = 1; n <= 3; n++) {
      if (/^[\x21-\x7e]+$/.test(key)) expect(await isTaken(key, keys)).toBe(false);
      expect(await isTaken(GOOD, keys)).toBe(true);
    }
    expect(logged.mock.calls).toEqual([
      [
        {
          message: "API key ignored",
          position: 2,
          error: expect.stringContaining("16 to 256 visible ASCII characters"),
        },
      ],
    ]);
    if (key.length > 1) expect(JSON.stringify(logged.mock.calls)).not.toContain(key);
  });

  it("that holds no key lets nobody in, and is no fault", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    for (const keys of ["", " ", ","]) expect(await isTaken(GOOD, keys)).toBe(false);
    expect(logged).not.toHaveBeenCalled();
  });
});
