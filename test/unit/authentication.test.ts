import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { CompactSign, decodeJwt, exportJWK, generateKeyPair, SignJWT } from "jose";
import * as v from "valibot";
import { afterEach, describe, expect, it, vi } from "vitest";
import { IDENTITY_HEADER } from "../../src/channel/identity-header.ts";
import { verifyToken } from "../../src/auth/token.ts";
import { MAX_EXTRAS_BYTES, MAX_JSON_DEPTH, MAX_TOKEN_CHARACTERS } from "../../src/protocol/limits.ts";
import { AuthDatabase } from "../../src/protocol/auth-database.ts";
import {
  API_KEY,
  call,
  connect,
  history,
  join,
  newDatabase,
  newOpenChannel,
  request,
  stubOf,
  tokenOf,
} from "./support.ts";

afterEach(() => vi.restoreAllMocks());

const SECRET = new TextEncoder().encode("a secret of the tests, of at least 32 bytes");

/** A channel for the users of a database only. */
async function newMembersChannel(database: string): Promise<string> {
  return newOpenChannel({ anonymous_clients: false, database });
}

/** A key pair, and a database that has its public half. */
async function newKeyDatabase(algorithm = "RS256", config: object = {}) {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "the-key", alg: algorithm };
  const database = await newDatabase({
    secret: undefined,
    extras_claim: undefined,
    jwks: { keys: [jwk] },
    algorithm,
    ...config,
  });
  return { database, privateKey, publicKey, jwk };
}

function sign(key: CryptoKey | Uint8Array, header: object, claims: object = {}): Promise<string> {
  const token = new SignJWT({ sub: "42", exp: Math.floor(Date.now() / 1000) + 60, ...claims });
  return token.setProtectedHeader({ alg: "RS256", kid: "the-key", ...header }).sign(key);
}

/** A token of a database of whose claims this is the JSON text: it may hold numbers that JSON.stringify never writes. */
function signText(database: string, fields: string): Promise<string> {
  const claims = `{"aud":"durable-channels:${database}",${fields}}`;
  return new CompactSign(new TextEncoder().encode(claims)).setProtectedHeader({ alg: "HS256" }).sign(SECRET);
}

/** When a token expires, in milliseconds since the epoch. */
function expiryOf(token = ""): number {
  return (decodeJwt(token).exp ?? Number.NaN) * 1_000;
}

async function refusal(channel: string, token: string): Promise<{ status: number; detail: string }> {
  const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/messages`, undefined, token);
  const { detail } = await answer.json<{ detail: string }>();
  return { status: answer.status, detail };
}

describe("a user's token", () => {
  it("is accepted by every endpoint: over HTTP, and over a socket as subprotocol or header (AUT4, AUT5)", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const token = await tokenOf(database, 42, { extras: { role: "hero" } });
    expect((await call("POST", "/message", { channel, message: "hi" }, token)).status).toBe(201);
    expect((await call("GET", `/channels/${encodeURIComponent(channel)}/messages`, undefined, token)).status).toBe(200);
    const credentials: Record<string, string>[] = [
      { "Sec-WebSocket-Protocol": token },
      { "Sec-WebSocket-Protocol": `durable-channels.v1, ${token}` },
      { Authorization: `Bearer ${token}` },
    ];
    for (const headers of credentials) {
      const socket = await connect(channel, headers);
      socket.send({ action: "join" });
      const { client } = await socket.frame();
      const dbo_id = expect.any(Number) as number;
      expect(client).toMatchObject({ permissions: { dbo_id, row_id: 42 }, extras: { role: "hero" } });
    }
  });

  describe.each(["a channel's socket", "a channel's socket with batches", "/rt/"])("offered for %s", (endpoint) => {
    it.each<[string, (credential: string) => string, string | null]>([
      ["durable-channels.v1", (credential) => `durable-channels.v1, ${credential}`, "durable-channels.v1"],
      ["durable-channels.v1 after it", (credential) => `${credential}, durable-channels.v1`, "durable-channels.v1"],
      ["no space", (credential) => `${credential},durable-channels.v1`, "durable-channels.v1"],
      ["another", (credential) => `${credential}, other, durable-channels.v1`, "durable-channels.v1"],
      ["itself", (credential) => `${credential}, durable-channels.v1, ${credential}`, "durable-channels.v1"],
      ["nothing", (credential) => credential, null],
    ])(
      "is echoed only if it is the only subprotocol, as browsers require: next to %s (CON5)",
      async (_, offer, chosen) => {
        const database = await newDatabase();
        const channel = encodeURIComponent(await newMembersChannel(database));
        const paths: Record<string, string> = {
          "a channel's socket": `/channels/${channel}/socket`,
          "a channel's socket with batches": `/channels/${channel}/socket?frames=batch`,
          "/rt/": "/rt/any",
        };
        for (const credential of [await tokenOf(database, 1), API_KEY]) {
          const headers = { Upgrade: "websocket", "Sec-WebSocket-Protocol": offer(credential) };
          const answer = await request(paths[endpoint] ?? "", { headers });
          expect([answer.status, answer.headers.get("Sec-WebSocket-Protocol")]).toEqual([101, chosen ?? credential]);
          answer.webSocket?.accept();
          answer.webSocket?.close();
        }
      },
    );

    it("is not echoed if the server refuses it (CON5)", async () => {
      const channel = encodeURIComponent(await newMembersChannel(await newDatabase()));
      const path = endpoint === "/rt/" ? "/rt/any" : `/channels/${channel}/socket`;
      const headers = { "Sec-WebSocket-Protocol": "durable-channels.v1, some.secret.token" };
      const answer = await request(path, { headers });
      const text = [...answer.headers].join() + (await answer.text());
      expect([answer.status, text.includes("secret")]).toEqual([426, false]);
    });
  });

  it.each(["RS256", "PS256", "ES256", "EdDSA"])("is verified by a key set: %s (AUT6)", async (alg) => {
    const { database, privateKey } = await newKeyDatabase(alg, { issuer: "https://issuer.test", audience: "chat" });
    const channel = await newMembersChannel(database);
    const token = await sign(
      privateKey,
      { alg },
      { iss: "https://issuer.test", aud: ["chat", "mail"], sub: "auth0|carol" },
    );
    const socket = await join(channel, {}, {}, token);
    expect(socket.client.permissions.row_id).toBe("auth0|carol");
  });

  it("may carry extras up to the limit, in any script, to a hibernating socket", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const token = await tokenOf(database, 1, { extras: { name: "日".repeat(1_360) } });
    const socket = await join(channel, {}, {}, token);
    await evictDurableObject(stubOf(channel));
    socket.send({ action: "message", payload: 1 });
    expect((await socket.frame()).client?.permissions.row_id).toBe(1);
  });

  it("carries its extras unchanged, to a hibernating socket and to a message over HTTP (AUT6)", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const extras = String.raw`{"__proto__":{"admin":true},"constructor":1,"name":"\ud800 \u0000 é 日"}`;
    const exp = Math.floor(Date.now() / 1_000) + 600;
    const token = await signText(database, `"sub":"42","exp":${exp},"extras":${extras}`);
    const extrasOf = (client: object | undefined) => JSON.stringify(client && "extras" in client && client.extras);
    const expected = JSON.stringify(JSON.parse(extras));
    const socket = await join(channel, {}, {}, token);
    expect(extrasOf(socket.client)).toBe(expected);
    await evictDurableObject(stubOf(channel));
    socket.send({ action: "message", payload: 1 });
    expect(extrasOf((await socket.frame()).client)).toBe(expected);
    await call("POST", "/message", { channel, message: 2 }, token);
    expect(extrasOf((await socket.frame()).client)).toBe(expected);
  });

  it.each<[string, object | string]>([
    ["none", ""],
    ["no JSON", "%7B"],
    ["an unknown kind", { kind: "root" }],
    ["an array", []],
    ["a user without an id", { row_id: undefined }],
    ["a user with an id that is none", { row_id: -1 }],
    ["a user whose token never expires", { expires: null }],
    ["a user whose extras are none", { extras: [] }],
    ["a user of no database", { database: "a b" }],
  ])("is not replaced by an identity that a request carries as %s", async (_, wrong) => {
    const right = { kind: "user", database: "users", dbo_id: 1, row_id: 1, extras: {}, expires: Date.now() + 1_000 };
    const changed = Array.isArray(wrong) ? wrong : { ...right, ...Object(wrong) };
    const header = typeof wrong === "string" ? wrong : encodeURIComponent(JSON.stringify(changed));
    const channel = await newOpenChannel({ database: null });
    const open = (identity: string) =>
      runInDurableObject(stubOf(channel), (object) =>
        object
          .fetch(new Request("https://x.test", { headers: { Upgrade: "websocket", [IDENTITY_HEADER]: identity } }))
          .then(
            ({ status }) => status,
            (error: Error) => error.name,
          ),
      );
    expect(await open(encodeURIComponent(JSON.stringify(right)))).toBe(403);
    expect(await open(header)).toMatch(/Error/);
  });

  it("identifies the user who publishes over HTTP", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    await call("POST", "/message", { channel, message: 1 }, await tokenOf(database, 7));
    expect((await history(channel)).messages[0]).toMatchObject({ client: { permissions: { row_id: 7 } } });
  });
});

describe("the server refuses a hostile token, over HTTP and over a socket (AUT6)", () => {
  const now = Math.floor(Date.now() / 1000);

  it("that is malformed, or has the algorithm none", async () => {
    const { database } = await newKeyDatabase();
    const channel = await newMembersChannel(database);
    const unsigned = `${btoa('{"alg":"none"}')}.${btoa(`{"sub":"1","exp":${now + 60}}`)}.`.replaceAll("=", "");
    for (const token of ["x", "a.b.c", unsigned, `${"e30.".repeat(2)}e30`]) {
      const expected = { status: 401, detail: expect.stringMatching(/^The token/) as string };
      expect(await refusal(channel, token)).toMatchObject(expected);
      await expect(connect(channel, { "Sec-WebSocket-Protocol": token })).rejects.toThrow(/^401/);
    }
  });

  it("signed by HS256 with the public key as its secret", async () => {
    const { database, publicKey, jwk } = await newKeyDatabase();
    const channel = await newMembersChannel(database);
    const spki = new Uint8Array((await crypto.subtle.exportKey("spki", publicKey)) as ArrayBuffer);
    for (const secret of [spki, new TextEncoder().encode(JSON.stringify(jwk)), new TextEncoder().encode(jwk.n)]) {
      const answer = await refusal(channel, await sign(secret, { alg: "HS256" }));
      expect(answer).toEqual({
        status: 401,
        detail: "The token's algorithm is not the algorithm of the channel's auth database.",
      });
    }
  });

  it.each<[string, object, object, string]>([
    ["expired", {}, { exp: now - 10 }, "The token has expired. Get a new one."],
    [
      "without an expiry",
      {},
      { exp: undefined },
      "The token's iss, aud, exp or nbf is missing or not what the channel's auth database requires.",
    ],
    [
      "not valid yet",
      {},
      { nbf: now + 60 },
      "The token's iss, aud, exp or nbf is missing or not what the channel's auth database requires.",
    ],
    [
      "of another issuer",
      {},
      { iss: "https://evil.test" },
      "The token's iss, aud, exp or nbf is missing or not what the channel's auth database requires.",
    ],
    [
      "for another audience",
      {},
      { aud: "mail" },
      "The token's iss, aud, exp or nbf is missing or not what the channel's auth database requires.",
    ],
    [
      "of an unknown key",
      { kid: "unknown" },
      {},
      "The token's key is not in the key set of the channel's auth database.",
    ],
    [
      "of a hostile key id",
      { kid: "../../../dev/null' OR 1=1" },
      {},
      "The token's key is not in the key set of the channel's auth database.",
    ],
    [
      "without a user's id",
      {},
      { sub: undefined },
      "The token's claim sub must be a user id: a whole number from 1 to 2^53 - 1, or 1 to 128 visible ASCII characters.",
    ],
    [
      "with an id that is none",
      {},
      { sub: { a: 1 } },
      "The token's claim sub must be a user id: a whole number from 1 to 2^53 - 1, or 1 to 128 visible ASCII characters.",
    ],
  ])("%s", async (_, header, claims, detail) => {
    const { database, privateKey } = await newKeyDatabase("RS256", { issuer: "https://issuer.test", audience: "chat" });
    const channel = await newMembersChannel(database);
    const token = await sign(privateKey, header, { iss: "https://issuer.test", aud: "chat", ...claims });
    expect(await refusal(channel, token)).toEqual({ status: 401, detail });
    await expect(connect(channel, { "Sec-WebSocket-Protocol": token })).rejects.toThrow(/^401/);
  });

  it("that brings its own key", async () => {
    const { database } = await newKeyDatabase();
    const channel = await newMembersChannel(database);
    const own = await generateKeyPair("RS256", { extractable: true });
    const header = { jwk: await exportJWK(own.publicKey), jku: "https://evil.test/jwks.json" };
    expect((await refusal(channel, await sign(own.privateKey, header))).status).toBe(401);
  });

  it("of another database, with another key or with the same one", async () => {
    const [mine, other] = [await newDatabase({ audience: "mine" }), await newDatabase({ audience: "other" })];
    const channel = await newMembersChannel(mine);
    expect((await refusal(channel, await tokenOf(other, 42))).status).toBe(401);
    const { database } = await newKeyDatabase();
    expect((await refusal(await newMembersChannel(database), await tokenOf(mine, 42))).status).toBe(401);
  });

  it("that is too long, or has too large extras", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const aud = `durable-channels:${database}`;
    const long = await sign(SECRET, { alg: "HS256" }, { aud, padding: "x".repeat(MAX_TOKEN_CHARACTERS) });
    expect((await refusal(channel, long)).detail).toBe(
      `A token may have at most ${MAX_TOKEN_CHARACTERS} characters; this one has ${long.length}.`,
    );
    const heavy = await sign(SECRET, { alg: "HS256" }, { aud, extras: { a: "x".repeat(MAX_EXTRAS_BYTES) } });
    expect((await refusal(channel, heavy)).detail).toContain(`at most ${MAX_EXTRAS_BYTES} bytes`);
  });

  it.each(["1e400", "-1e400", "9007199254740993", "1e308", "null", '"4102444800"', "[4102444800]"])(
    "whose exp is not a number of seconds: %s (AUT6)",
    async (exp) => {
      const database = await newDatabase();
      const channel = await newMembersChannel(database);
      expect((await refusal(channel, await signText(database, `"sub":"42","exp":${exp}`))).status).toBe(401);
    },
  );

  it("whose exp is too large, and the error says so (AUT6)", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    for (const exp of ["1e400", "9007199254740993"]) {
      const { detail } = await refusal(channel, await signText(database, `"sub":"42","exp":${exp}`));
      expect(detail).toBe("The token's exp must be a number of seconds from 0 to 9007199254740991.");
    }
  });

  it("on a channel that has no auth database", async () => {
    const token = await tokenOf(await newDatabase(), 1);
    expect((await refusal(await newOpenChannel(), token)).status).toBe(401);
  });

  it("is not in any log", async () => {
    const logs = [vi.spyOn(console, "error"), vi.spyOn(console, "log"), vi.spyOn(console, "warn")];
    const { database, privateKey } = await newKeyDatabase();
    const token = await sign(privateKey, { kid: "unknown" });
    await refusal(await newMembersChannel(database), token);
    expect(JSON.stringify(logs.map(({ mock }) => mock.calls))).not.toContain(token.slice(0, 20));
  });
});

describe("a fetched key set", () => {
  it("is fetched once for many tokens, and again for an unknown key at a limited rate", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
    const keys = [{ ...(await exportJWK(publicKey)), kid: "first", alg: "ES256" }];
    const address = `https://issuer.test/${crypto.randomUUID()}.json`;
    const fetched = vi.spyOn(globalThis, "fetch").mockImplementation(async () => Response.json({ keys }));
    const database = await newDatabase({
      secret: undefined,
      extras_claim: undefined,
      jwks_url: address,
      algorithm: "ES256",
    });
    const channel = await newMembersChannel(database);
    const token = (kid: string) => sign(privateKey, { alg: "ES256", kid });
    for (let n = 0; n < 5; n++) await join(channel, {}, {}, await token("first"));
    expect(fetched).toHaveBeenCalledTimes(1);
    for (let n = 0; n < 5; n++) expect((await refusal(channel, await token("unknown"))).status).toBe(401);
    expect(fetched).toHaveBeenCalledTimes(1);
  });
});

describe("a channel whose auth database changes", () => {
  it("admits only the users of the new database, at once and after each change (AUT3)", async () => {
    const [one, two] = [await newKeyDatabase(), await newKeyDatabase()];
    const channel = await newMembersChannel(one.database);
    const tokens = await Promise.all([one, two].map(({ privateKey }) => sign(privateKey, {})));
    const statuses = () => Promise.all(tokens.map(async (token) => (await refusal(channel, token)).status));
    expect(await statuses()).toEqual([200, 401]);
    for (let change = 1; change <= 3; change++) {
      const { database } = change % 2 === 1 ? two : one;
      const settings = { anonymous_clients: false, message_history: 100, database };
      expect((await call("PUT", `/channels/${encodeURIComponent(channel)}`, settings)).status).toBe(200);
      expect(await statuses()).toEqual(change % 2 === 1 ? [401, 200] : [200, 401]);
    }
  });
});

describe("a token that expires", () => {
  it("closes its socket on time, also after hibernation and without any other activity (AUT7)", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const socket = await join(channel, {}, {}, await tokenOf(database, 1, { expires_in: 2 }));
    const lasting = await join(channel, {}, {}, await tokenOf(database, 2));
    await evictDurableObject(stubOf(channel));
    expect((await socket.frame()).payload).toMatchObject({
      code: "unauthorized",
      message: "The token has expired. Connect again with a new one.",
    });
    expect(await socket.close()).toEqual({ code: 4401, reason: "token expired" });
    await call("POST", "/message", { channel, message: "for those who stay" });
    expect((await lasting.frame()).payload).toBe("for those who stay");
  });

  it.each([
    ["far away", String(Date.UTC(2300) / 1000)],
    ["given in milliseconds", String(Date.UTC(2100))],
    ["as far away as can be", String(Number.MAX_SAFE_INTEGER)],
  ])("is accepted with %s, and its alarm does not prevent archiving (AUT7)", async (_, exp) => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const token = await signText(database, `"sub":"42","exp":${exp}`);
    const [socket, again] = [await join(channel, {}, {}, token), await join(channel, {}, {}, token)];
    const alarm = () => runInDurableObject(stubOf(channel), (__, { storage }) => storage.getAlarm());
    expect(await alarm()).toBeGreaterThan(Date.now() + 86_400_000);
    for (const message of ["one", "two"]) {
      await call("POST", "/message", { channel, message });
      expect(await alarm()).toBeLessThan(Date.now() + 2_000);
      await runDurableObjectAlarm(stubOf(channel));
      expect(await alarm()).toBeGreaterThan(Date.now() + 86_400_000);
      for (const each of [socket, again]) expect((await each.frame()).payload).toBe(message);
    }
  });

  it("expires at the whole second if its exp has a fraction (AUT7)", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const exp = Math.floor(Date.now() / 1000) + 3_600;
    await join(channel, {}, {}, await signText(database, `"sub":"42","exp":${exp}.999999`));
    const alarm = await runInDurableObject(stubOf(channel), (_, { storage }) => storage.getAlarm());
    expect(alarm).toBe(exp * 1_000);
  });

  it("closes only its own socket at its own time, also with three tokens (AUT7)", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    const tokens = await Promise.all([300, 100, 200, 3_600].map((expires_in) => tokenOf(database, 1, { expires_in })));
    const [last, first, second] = await Promise.all(tokens.map((token) => join(channel, {}, {}, token)));
    const members = [
      { socket: first, expiry: expiryOf(tokens[1]) },
      { socket: second, expiry: expiryOf(tokens[2]) },
      { socket: last, expiry: expiryOf(tokens[0]) },
    ];
    const clock = vi.spyOn(Date, "now");
    const ringAt = async (time: number) => {
      clock.mockReturnValue(time);
      await runDurableObjectAlarm(stubOf(channel));
    };
    const socketCount = () => runInDurableObject(stubOf(channel), (_, state) => state.getWebSockets().length);
    for (const [index, { socket, expiry }] of members.entries()) {
      expect(await runInDurableObject(stubOf(channel), (_, { storage }) => storage.getAlarm())).toBe(expiry);
      await ringAt(expiry - 1);
      expect(await socketCount()).toBe(4 - index);
      await ringAt(expiry);
      expect(await socket?.close()).toEqual({ code: 4401, reason: "token expired" });
      expect(await socketCount()).toBe(3 - index);
    }
  });

  it("has an alarm of its own, which archiving does not take away", async () => {
    const database = await newDatabase();
    const channel = await newMembersChannel(database);
    await join(channel, {}, {}, await tokenOf(database, 1, { expires_in: 3_600 }));
    const alarm = () => runInDurableObject(stubOf(channel), (_, { storage }) => storage.getAlarm());
    const expiry = await alarm();
    expect(expiry).toBeGreaterThan(Date.now() + 3_000_000);
    await call("POST", "/message", { channel, message: 1 });
    expect(await alarm()).toBeLessThan(Date.now() + 2_000);
    await runDurableObjectAlarm(stubOf(channel));
    expect(await alarm()).toBe(expiry);
  });
});

describe("the limits of a token (AUT6)", () => {
  const config = (more: object = {}, sharing: { sharesKeys?: boolean } = { sharesKeys: false }) => ({
    ...v.parse(AuthDatabase, { dbo_id: 1, secret: "AUTH_SECRET", extras_claim: "extras", ...more }),
    ...sharing,
  });
  const verdict = async (claims: object, secret = "k".repeat(32), ...more: Parameters<typeof config>) => {
    const token = await sign(new TextEncoder().encode(secret), { alg: "HS256" }, claims);
    const verified = await verifyToken(token, "users", config(...more), { AUTH_SECRET: secret });
    return verified.ok ? "ok" : verified.fault.code;
  };

  it("include its aud if it is not known whether another database has the same key (AUT8)", async () => {
    const audiences = [undefined, "another service", "durable-channels:users"];
    const known = audiences.map((aud) => verdict({ aud }));
    const unknown = audiences.map((aud) => verdict({ aud }, undefined, {}, {}));
    expect(await Promise.all(known)).toEqual(["ok", "ok", "ok"]);
    expect(await Promise.all(unknown)).toEqual(["unauthorized", "unauthorized", "ok"]);
  });

  it("require a secret of at least 32 bytes, not characters", async () => {
    const secrets = ["k".repeat(32), "k".repeat(31), "é".repeat(16), `${"é".repeat(15)}k`];
    const verdicts = await Promise.all(secrets.map((secret) => verdict({}, secret)));
    expect(verdicts).toEqual(["ok", "unavailable", "ok", "unavailable"]);
  });

  it("allow clocks to differ by at most 5 seconds", async () => {
    const now = Math.floor(Date.now() / 1_000);
    vi.useFakeTimers({ toFake: ["Date"], now: now * 1_000 });
    const expiries = await Promise.all([-4, -5, -6].map((seconds) => verdict({ exp: now + seconds })));
    const starts = await Promise.all([5, 6].map((seconds) => verdict({ nbf: now + seconds })));
    vi.useRealTimers();
    expect([expiries, starts]).toEqual([
      ["ok", "unauthorized", "unauthorized"],
      ["ok", "unauthorized"],
    ]);
  });

  it("count the bytes of extras, not their characters", async () => {
    const extras = (text: string) => ({ extras: { text } });
    const room = MAX_EXTRAS_BYTES - JSON.stringify({ text: "" }).length;
    const fits = "é".repeat(Math.floor(room / 2));
    expect(await verdict(extras(fits))).toBe("ok");
    expect(await verdict(extras(`${fits}é`))).toBe("unauthorized");
  });

  it("count the depth of extras, as of any JSON (LIM2)", async () => {
    const nested = (levels: number) => JSON.parse(`${'{"a":'.repeat(levels - 1)}{}${"}".repeat(levels - 1)}`) as object;
    expect(await verdict({ extras: nested(MAX_JSON_DEPTH) })).toBe("ok");
    expect(await verdict({ extras: nested(MAX_JSON_DEPTH + 1) })).toBe("unauthorized");
  });

  it("require valid times in exp, nbf and iat", async () => {
    const exp = Math.floor(Date.now() / 1_000) + 60;
    const verdictOf = async (claims: string) => {
      const token = await signText("users", claims);
      const secrets = { AUTH_SECRET: new TextDecoder().decode(SECRET) };
      const verified = await verifyToken(token, "users", config(), secrets);
      return verified.ok ? "ok" : verified.fault.code;
    };
    for (const claim of ["nbf", "iat"]) {
      for (const time of ["1e400", "-1e400", "-1", '"1"', "[1]", "{}", "null", "true", "9007199254740993"]) {
        const claims = `"sub":"1","exp":${exp},"${claim}":${time}`;
        expect([claims, await verdictOf(claims)]).toEqual([claims, "unauthorized"]);
      }
      expect(await verdictOf(`"sub":"1","exp":${exp},"${claim}":0.5`)).toBe("ok");
    }
    for (const time of ["-1e400", "-1", "0", "-0", "{}", "true"]) {
      expect(await verdictOf(`"sub":"1","exp":${time}`)).toBe("unauthorized");
    }
    for (const number of ["1e400", "-1e400"]) {
      expect(await verdictOf(`"sub":"1","exp":${exp},"extras":{"a":[${number}]}`)).toBe("unauthorized");
    }
    for (const id of ["9007199254740993", "1e400", "-0", "1.5", '"\\ud800"', '"\\u0000"', '"a\\nb"', "[1]", "true"]) {
      expect([id, await verdictOf(`"sub":${id},"exp":${exp}`)]).toEqual([id, "unauthorized"]);
    }
  });

  it("treat a number and its digits as the same user, up to 2^53 - 1", async () => {
    const idOf = async (sub: unknown) => {
      const secret = "k".repeat(32);
      const token = await sign(new TextEncoder().encode(secret), { alg: "HS256" }, { sub });
      const verified = await verifyToken(token, "users", config(), { AUTH_SECRET: secret });
      return verified.ok && verified.value.row_id;
    };
    const ids = [1, "1", "1000000000000000", "9007199254740991", "9007199254740992", "01", "1.0", "+1"];
    expect(await Promise.all(ids.map(idOf))).toEqual([
      1,
      1,
      1_000_000_000_000_000,
      Number.MAX_SAFE_INTEGER,
      "9007199254740992",
      "01",
      "1.0",
      "+1",
    ]);
  });

  it("ignore properties that the token inherits from JavaScript objects", async () => {
    for (const claim of ["__proto__", "constructor", "toString"]) {
      expect(await verdict({}, undefined, { id_claim: claim })).toBe("unauthorized");
      expect(await verdict({}, undefined, { extras_claim: claim })).toBe("ok");
    }
  });

  it("allow ids from 1 on and of 1 to 128 visible characters", async () => {
    const ids = [1, 0, -1, 1.5, "1", "0", "x".repeat(128), "x".repeat(129), "", "a b", undefined];
    const verdicts = await Promise.all(ids.map((sub) => verdict({ sub })));
    const refused = "unauthorized";
    expect(verdicts).toEqual(["ok", refused, refused, refused, "ok", "ok", "ok", refused, refused, refused, refused]);
  });

  it("allow as extras only an object of at most 4,096 bytes", async () => {
    const text = (length: number) => ({ text: "x".repeat(length - JSON.stringify({ text: "" }).length) });
    const all = [text(MAX_EXTRAS_BYTES), text(MAX_EXTRAS_BYTES + 1), undefined, null, [], "text", 1];
    const verdicts = await Promise.all(all.map((extras) => verdict({ extras })));
    const refused = "unauthorized";
    expect(verdicts).toEqual(["ok", refused, "ok", "ok", refused, refused, refused]);
  });

  it("require both the issuer and the audience to match", async () => {
    const asked = { issuer: "https://issuer.test", audience: "channels" };
    const claims = [
      { iss: "https://issuer.test", aud: "channels" },
      { iss: "https://issuer.test" },
      { aud: "channels" },
      { iss: "https://other.test", aud: "channels" },
      { iss: "https://issuer.test", aud: "others" },
    ];
    const verdicts = await Promise.all(claims.map((each) => verdict(each, undefined, asked)));
    expect(verdicts).toEqual(["ok", "unauthorized", "unauthorized", "unauthorized", "unauthorized"]);
  });
});

describe("auth databases", () => {
  const config = { dbo_id: 1_000_001, secret: "AUTH_SECRET" };

  it("can be set, read, listed and removed by API-key clients only", async () => {
    const path = `/databases/db-${crypto.randomUUID()}`;
    expect((await call("PUT", path, config)).status).toBe(200);
    expect(await (await call("GET", path)).json()).toMatchObject({ config: { ...config, id_claim: "sub" } });
    const { databases } = await (
      await call("GET", "/databases?limit=1000")
    ).json<{ databases: { database: string }[] }>();
    expect(databases.map(({ database }) => `/databases/${database}`)).toContain(path);
    for (const method of ["GET", "PUT", "DELETE"]) {
      expect((await call(method, path, method === "PUT" ? config : undefined, null)).status).toBe(401);
    }
    expect((await call("POST", `${path}/tokens`, { id: 1 }, null)).status).toBe(401);
    expect((await call("DELETE", path)).status).toBe(204);
    expect((await call("GET", path)).status).toBe(404);
  });

  it.each<[object, string]>([
    [{ dbo_id: 5 }, "body"],
    [{ dbo_id: 5, secret: "AUTH_SECRET", jwks_url: "https://a.test" }, "body"],
    [{ dbo_id: 0, secret: "AUTH_SECRET" }, "dbo_id"],
    [{ secret: "AUTH_SECRET" }, "dbo_id"],
    [{ dbo_id: 5, secret: "API_KEYS" }, "secret"],
    [{ dbo_id: 5, secret: "lower" }, "secret"],
    [{ dbo_id: 5, jwks_url: "http://a.test" }, "jwks_url"],
    [{ dbo_id: 5, jwks: { keys: [{ kty: "RSA", d: "private" }] } }, "jwks"],
    [{ dbo_id: 5, jwks: { keys: [{ kty: "oct", k: "secret" }] } }, "jwks"],
    [{ dbo_id: 5, jwks: {} }, "jwks"],
    [{ dbo_id: 5, jwks_url: "https://a.test", algorithm: "HS256" }, "algorithm"],
    [{ dbo_id: 5, jwks_url: "https://a.test", algorithm: "none" }, "algorithm"],
    [{ dbo_id: 5, secret: "AUTH_SECRET", foo: 1 }, "foo"],
  ])("are refused if their configuration is wrong, and the error names the field: %j", async (wrong, field) => {
    const answer = await call("PUT", "/databases/wrong", wrong);
    expect([answer.status, await answer.json()]).toMatchObject([400, { field }]);
  });

  it("have a number each that no other database has", async () => {
    const dbo_id = 77_000_001;
    await newDatabase({ dbo_id });
    const answer = await call("PUT", `/databases/db-${crypto.randomUUID()}`, { dbo_id, secret: "AUTH_SECRET" });
    expect([answer.status, await answer.json()]).toMatchObject([400, { field: "dbo_id" }]);
  });

  it("must exist before a channel can use them", async () => {
    const answer = await call("PUT", "/channels/x", { database: "nowhere" });
    expect([answer.status, await answer.json()]).toMatchObject([400, { field: "database" }]);
  });

  it.each(["AUTH_SECRET_SHORT", "AUTH_SECRET_MISSING"])(
    "verify and make no tokens if their secret is missing or too short: %s",
    async (secret) => {
      const database = await newDatabase({ secret });
      expect((await call("POST", `/databases/${database}/tokens`, { id: 1 })).status).toBe(503);
      const channel = await newMembersChannel(database);
      expect((await refusal(channel, await sign(SECRET, { alg: "HS256" }))).status).toBe(503);
    },
  );

  it("make no tokens if they have a key set", async () => {
    const { database } = await newKeyDatabase();
    expect((await call("POST", `/databases/${database}/tokens`, { id: 1 })).status).toBe(403);
  });

  it.each([1, 86_400])("make tokens that last for %i seconds", async (expires_in) => {
    const before = Math.floor(Date.now() / 1_000);
    const expiry = expiryOf(await tokenOf(await newDatabase(), 1, { expires_in })) / 1_000;
    expect(expiry).toBeGreaterThanOrEqual(before + expires_in);
    expect(expiry).toBeLessThanOrEqual(Date.now() / 1_000 + expires_in);
  });

  it("make no token that would be refused (AUT6)", async () => {
    const database = await newDatabase();
    const made = (text: string) => call("POST", `/databases/${database}/tokens`, { id: 1, extras: { text } });
    expect((await made("é".repeat(2_042))).status).toBe(201);
    const refused = await made("é".repeat(2_043));
    expect([refused.status, await refused.json()]).toMatchObject([400, { field: "extras", limit: MAX_EXTRAS_BYTES }]);
    const claims = { issuer: "日".repeat(512), audience: "日".repeat(512), id_claim: "語".repeat(512) };
    const long = await newDatabase(claims);
    const answer = await call("POST", `/databases/${long}/tokens`, { id: 1, extras: { text: "x".repeat(4_000) } });
    expect([answer.status, await answer.json()]).toMatchObject([400, { field: "extras", limit: MAX_TOKEN_CHARACTERS }]);
  });

  it.each([{}, { id: 0 }, { id: "" }, { id: 1, expires_in: 0 }, { id: 1, expires_in: 86_401 }, { id: 1, foo: 1 }])(
    "make tokens only from valid requests: %j",
    async (wrong) => {
      expect((await call("POST", `/databases/${await newDatabase()}/tokens`, wrong)).status).toBe(400);
    },
  );
});
