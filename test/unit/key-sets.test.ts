import { exportJWK, generateKeyPair, SignJWT } from "jose";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { verifyToken } from "../../src/auth/token.ts";
import { MAX_KEY_SET_BYTES, MAX_KEYS_PER_SET } from "../../src/protocol/limits.ts";
import { AuthDatabase } from "../../src/protocol/schemas.ts";
import { API_KEY, call, request } from "./support.ts";

const START = Date.now();
let now = START;
let logged = vi.spyOn(console, "error");
/** The answers of the providers, by their addresses. */
const answers = new Map<string, (init?: RequestInit) => Response | Promise<Response>>();

beforeEach(() => {
  now = START;
  vi.spyOn(Date, "now").mockImplementation(() => now);
  logged = vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(globalThis, "fetch").mockImplementation(
    async (input, init) => answers.get(new Request(input).url)?.(init) ?? broken(),
  );
});
afterEach(() => vi.restoreAllMocks());

/** An identity provider with one key, whose answer may be replaced. */
async function newProvider(answer?: () => Response | Promise<Response>) {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "first", alg: "ES256" };
  const state = {
    jwk,
    answer: answer ?? (() => Response.json({ keys: [jwk] })),
    fetched: 0,
    requests: [] as RequestInit[],
  };
  const address = `https://issuer.test/${crypto.randomUUID()}`;
  answers.set(address, (init = {}) => {
    state.fetched += 1;
    state.requests.push(init);
    return state.answer();
  });
  const parsed = v.parse(AuthDatabase, { dbo_id: 1, jwks_url: address, algorithm: "ES256" });
  const config = { ...parsed, sharesKeys: false };
  const verdict = async (kid = "first") => {
    const token = new SignJWT({ sub: "1", exp: Math.floor(now / 1_000) + 60 });
    const text = await token.setProtectedHeader({ alg: "ES256", kid }).sign(privateKey);
    const verified = await verifyToken(text, "users", config, {});
    return verified.ok ? "ok" : verified.fault.code;
  };
  return Object.assign(state, { verdict });
}

const broken = () => new Response("", { status: 500 });
const MINUTES = 60_000;

describe("a key set that cannot be fetched (AUT10)", () => {
  it("is asked for once in a while, however many tokens arrive", async () => {
    const provider = await newProvider(broken);
    for (let n = 0; n < 20; n++) expect(await provider.verdict()).toBe("unavailable");
    expect(provider.fetched).toBe(1);
    const pauses = [5_000, 10_000, 20_000, 30_000, 30_000];
    for (const [index, pause] of pauses.entries()) {
      now += pause - 1;
      expect(await provider.verdict()).toBe("unavailable");
      expect(provider.fetched).toBe(index + 1);
      now += 1;
      expect(await provider.verdict()).toBe("unavailable");
      expect(provider.fetched).toBe(index + 2);
    }
    provider.answer = () => Response.json({ keys: [provider.jwk] });
    now += 30_000;
    expect(await provider.verdict()).toBe("ok");
  });

  it("is asked for once by tokens that arrive together", async () => {
    const provider = await newProvider();
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => provider.verdict()));
    expect([new Set(verdicts), provider.fetched]).toEqual([new Set(["ok"]), 1]);
  });

  it("is logged once, and not for each token", async () => {
    const provider = await newProvider(broken);
    for (let n = 0; n < 20; n++) await provider.verdict();
    expect(logged).toHaveBeenCalledTimes(1);
  });

  it("stays the last one that was fetched, for 24 hours", async () => {
    const provider = await newProvider();
    expect(await provider.verdict()).toBe("ok");
    provider.answer = broken;
    for (const minutes of [11, 60, 24 * 60 - 1]) {
      now = START + minutes * MINUTES;
      expect(await provider.verdict()).toBe("ok");
    }
    expect(provider.fetched).toBe(4);
    now = START + 24 * 60 * MINUTES;
    expect(await provider.verdict()).toBe("unavailable");
  });

  it("makes nobody wait who can do without", async () => {
    const provider = await newProvider();
    expect(await provider.verdict()).toBe("ok");
    now += 11 * MINUTES;
    provider.answer = broken;
    expect(await provider.verdict()).toBe("ok");
    now += MINUTES;
    const { promise, resolve } = Promise.withResolvers<Response>();
    provider.answer = () => promise;
    expect(await provider.verdict()).toBe("ok");
    expect(provider.fetched).toBe(3);
    resolve(broken());
  });
});

describe("an unknown key (AUT10)", () => {
  it("makes one fetch in 30 seconds, whatever keys tokens name", async () => {
    const provider = await newProvider();
    expect(await provider.verdict()).toBe("ok");
    for (let n = 0; n < 20; n++) expect(await provider.verdict(`unknown-${n}`)).toBe("unauthorized");
    expect(provider.fetched).toBe(1);
    now += 30_000;
    const verdicts = await Promise.all(Array.from({ length: 20 }, (_, n) => provider.verdict(`other-${n}`)));
    expect(new Set(verdicts)).toEqual(new Set(["unauthorized"]));
    expect(provider.fetched).toBe(2);
    provider.answer = () => Response.json({ keys: [provider.jwk, { ...provider.jwk, kid: "second" }] });
    now += 30_000;
    expect(await provider.verdict("second")).toBe("ok");
    expect(provider.fetched).toBe(3);
  });

  it("is not called wrong while the key set cannot be fetched", async () => {
    const provider = await newProvider();
    expect(await provider.verdict()).toBe("ok");
    provider.answer = broken;
    now += 30_000;
    for (let n = 0; n < 5; n++) expect(await provider.verdict(`new-${n}`)).toBe("unavailable");
    expect(await provider.verdict()).toBe("ok");
    expect(provider.fetched).toBe(2);
  });
});

describe("what is fetched (AUT10)", () => {
  it("is read up to a bound, and no further", async () => {
    let [chunks, isCanceled] = [0, false];
    const chunk = new Uint8Array(64 * 1024).fill(32);
    const endless = () =>
      new ReadableStream({
        pull: (controller) => {
          chunks += 1;
          controller.enqueue(chunk);
          if (chunks === 2_400) controller.close();
        },
        cancel: () => {
          isCanceled = true;
        },
      });
    const provider = await newProvider(() => new Response(endless()));
    expect(await provider.verdict()).toBe("unavailable");
    expect(chunks).toBeLessThanOrEqual(MAX_KEY_SET_BYTES / chunk.length + 3);
    await vi.waitUntil(() => isCanceled);
  });

  it("may be as large as the bound", async () => {
    const provider = await newProvider();
    const padded = (bytes: number) => () => new Response(JSON.stringify({ keys: [provider.jwk] }).padEnd(bytes, " "));
    provider.answer = padded(MAX_KEY_SET_BYTES + 1);
    expect(await provider.verdict()).toBe("unavailable");
    provider.answer = padded(MAX_KEY_SET_BYTES);
    now += MINUTES;
    expect(await provider.verdict()).toBe("ok");
  });

  it("holds as many keys as allowed", async () => {
    const provider = await newProvider();
    const keys = (count: number) => () =>
      Response.json({
        keys: Array.from({ length: count }, (_, n) => ({ ...provider.jwk, kid: n ? `${n}` : "first" })),
      });
    provider.answer = keys(MAX_KEYS_PER_SET + 1);
    expect(await provider.verdict()).toBe("unavailable");
    provider.answer = keys(MAX_KEYS_PER_SET);
    now += MINUTES;
    expect(await provider.verdict()).toBe("ok");
  });

  it.each(["null", "[]", "{}", '{"keys":{}}', '{"keys":[1]}', "<html>", ""])("must be a key set: %s", async (text) => {
    const provider = await newProvider(() => new Response(text));
    expect(await provider.verdict()).toBe("unavailable");
  });

  it("must end in time, though it arrives byte by byte", async () => {
    const drip = () =>
      new ReadableStream({
        pull: async (controller) => {
          await new Promise((resolve) => setTimeout(resolve, 50));
          controller.enqueue(new Uint8Array([32]));
        },
      });
    const provider = await newProvider(() => new Response(drip()));
    expect(await provider.verdict()).toBe("unavailable");
    expect(provider.fetched).toBe(1);
  });

  it("is never somewhere else", async () => {
    const provider = await newProvider(() => Response.redirect("https://elsewhere.test/", 302));
    expect(await provider.verdict()).toBe("unavailable");
    expect(provider.requests).toMatchObject([{ redirect: "manual" }]);
  });

  it("is kept for 100 addresses", async () => {
    const first = await newProvider();
    expect(await first.verdict()).toBe("ok");
    for (let n = 0; n < 100; n++) {
      const other = await newProvider(broken);
      expect(await other.verdict()).toBe("unavailable");
      if (n === 98) expect([await first.verdict(), first.fetched]).toEqual(["ok", 1]);
    }
    // It was used before the last one.
    expect([await first.verdict(), first.fetched]).toEqual(["ok", 1]);
    for (let n = 0; n < 100; n++) await (await newProvider(broken)).verdict();
    expect([await first.verdict(), first.fetched]).toEqual(["ok", 2]);
  });
});

describe("the address of a key set (AUT9)", () => {
  const config = (jwks_url: string) => ({ dbo_id: crypto.getRandomValues(new Uint32Array(1))[0], jwks_url });
  const put = (jwks_url: string) => call("PUT", `/databases/db-${crypto.randomUUID()}`, config(jwks_url));

  it.each([
    "http://issuer.test/",
    "ftp://localhost/",
    "javascript:alert(1)",
    "https://",
    "https://user@issuer.test/",
    "https://user:pass@issuer.test/",
    "https://:@127.1/",
    "https://issuer.test/#fragment",
    "https://issuer.test/#",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.01/",
    "https://①②⑦.0.0.1/",
    "https://127.0.0.1./",
    "https://10.0.0.1/",
    "https://169.254.169.254/latest/",
    "https://192.168.1.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[fd00::1]/",
    "https://[fe80::1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://api.localhost/",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://metadata.google.internal./",
    "https://locaLHost:8443/",
  ])("is refused: %s", async (address) => {
    const answer = await put(address);
    expect([answer.status, await answer.json()]).toMatchObject([400, { field: "jwks_url" }]);
  });

  it.each(["https://issuer.test/", "https://issuer.test:8443/keys?x=1", "https://localhost.example.com/"])(
    "is taken: %s",
    async (address) => {
      expect((await put(address)).status).toBe(200);
    },
  );

  it("may be on localhost where the server is, for development", async () => {
    const body = JSON.stringify(config("http://localhost:9999/keys"));
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${API_KEY}` };
    const path = `/databases/db-${crypto.randomUUID()}`;
    expect((await request(path, { method: "PUT", headers, body })).status).toBe(400);
    for (const host of ["localhost:8787", "127.0.0.1:8787"]) {
      const answer = await request(path, { method: "PUT", headers, body }, `http://${host}`);
      expect(answer.status).toBe(200);
    }
  });
});
