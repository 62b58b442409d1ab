import { env } from "cloudflare:workers";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterEach, describe, expect, it, vi } from "vitest";
import { call, connectToMany, join, newDatabase, newOpenChannel, stubOf, tokenOf } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

const SECRET = new TextEncoder().encode("a secret of the tests, of at least 32 bytes");

/** What PUT says of a configuration, as `status field detail`. */
async function put(name: string, config: object): Promise<{ status: number; field?: string; detail?: string }> {
  const answer = await call("PUT", `/databases/${name}`, { dbo_id: newNumber(), ...config });
  const { field, detail } = await answer.json<{ field?: string; detail?: string }>();
  return { status: answer.status, ...(field && { field }), ...(detail && { detail }) };
}

const newName = () => `db-${crypto.randomUUID()}`;
const newNumber = () => Number(crypto.getRandomValues(new Uint32Array(1))[0]) + 1;

async function newKey() {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid: crypto.randomUUID(), alg: "ES256" } };
}

function sign(key: CryptoKey | Uint8Array, header: { alg: string; kid?: string }, claims: object): Promise<string> {
  const exp = Math.floor(Date.now() / 1_000) + 60;
  return new SignJWT({ sub: "1", exp, ...claims }).setProtectedHeader(header).sign(key);
}

/** A channel for a database's users only. */
const membersOf = (database: string) => newOpenChannel({ anonymous_clients: false, database });

async function verdict(channel: string, token: string): Promise<{ status: number; detail: string }> {
  const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/messages`, undefined, token);
  const { detail = "" } = await answer.json<{ detail?: string }>();
  return { status: answer.status, detail };
}

describe("a token is valid for one database (AUT8)", () => {
  it("even if another database has the same secret", async () => {
    const [users, admins] = [await newDatabase(), await newDatabase()];
    const channel = await membersOf(admins);
    const [foreign, own] = [await tokenOf(users, 1), await tokenOf(admins, 1)];
    expect((await verdict(channel, own)).status).toBe(200);
    expect((await verdict(channel, foreign)).status).toBe(401);
    await expect(join(channel, {}, {}, foreign)).rejects.toThrow(/^401/);
    const many = await connectToMany({ "Sec-WebSocket-Protocol": foreign });
    many.send({ action: "join", options: { channel } });
    expect((await many.frame()).payload).toMatchObject({ code: "unauthorized" });
  });

  it("without aud only if no other database has the key, and the error says what to do", async () => {
    const { privateKey, jwk } = await newKey();
    const config = { secret: undefined, extras_claim: undefined, jwks: { keys: [jwk] }, algorithm: "ES256" };
    const alone = await newDatabase(config);
    const channel = await membersOf(alone);
    const token = (claims: object) => sign(privateKey, { alg: "ES256", kid: jwk.kid }, claims);
    const [bare, provider, named] = await Promise.all([
      token({}),
      token({ aud: "authenticated" }),
      token({ aud: ["authenticated", `durable-channels:${alone}`] }),
    ]);
    const statuses = () =>
      Promise.all([bare, provider, named].map(async (each) => (await verdict(channel, each)).status));
    expect(await statuses()).toEqual([200, 200, 200]);
    const other = await newDatabase({ ...config, jwks: { keys: [(await newKey()).jwk, jwk] } });
    expect(await statuses()).toEqual([401, 401, 200]);
    const { detail } = await verdict(channel, bare);
    expect(detail).toContain(`durable-channels:${alone}`);
    expect(detail).toContain("audience");
    expect((await call("DELETE", `/databases/${other}`)).status).toBe(204);
    expect(await statuses()).toEqual([200, 200, 200]);
  });

  it("because no other database accepts its default audience, even with the same key", async () => {
    const { privateKey, jwk } = await newKey();
    const alone = await newDatabase({
      secret: undefined,
      extras_claim: undefined,
      jwks: { keys: [jwk] },
      algorithm: "ES256",
    });
    const token = await sign(privateKey, { alg: "ES256", kid: jwk.kid }, { aud: "durable-channels:another" });
    expect((await verdict(await membersOf(alone), token)).status).toBe(401);
  });

  it("by its issuer, if databases with the same key have different issuers", async () => {
    const { privateKey, jwk } = await newKey();
    const config = { secret: undefined, extras_claim: undefined, jwks: { keys: [jwk] }, algorithm: "ES256" };
    const one = await newDatabase({ ...config, issuer: "https://one.test" });
    const two = await newDatabase({ ...config, issuer: "https://two.test" });
    const token = await sign(privateKey, { alg: "ES256", kid: jwk.kid }, { iss: "https://one.test" });
    expect((await verdict(await membersOf(one), token)).status).toBe(200);
    expect((await verdict(await membersOf(two), token)).status).toBe(401);
  });

  it("even if an earlier version stored the databases", async () => {
    const [users, admins] = [newName(), newName()];
    for (const name of [users, admins]) {
      const number = newNumber();
      const config = JSON.stringify({ dbo_id: number, secret: "AUTH_SECRET_OLD", algorithm: "RS256", id_claim: "sub" });
      await env.DB.prepare("INSERT INTO databases (name, dbo_id, config) VALUES (?, ?, ?)")
        .bind(name, number, config)
        .run();
    }
    const bare = await sign(SECRET, { alg: "HS256" }, {});
    const channel = await membersOf(admins);
    expect((await verdict(channel, bare)).status).toBe(401);
    expect((await verdict(channel, await tokenOf(users, 1))).status).toBe(401);
    expect((await verdict(channel, await tokenOf(admins, 1))).status).toBe(200);
  });

  it("even if they were stored before the table of keys existed (migrations)", async () => {
    const [one, two] = [await newDatabase(), await newDatabase()];
    const keys = () =>
      env.DB.prepare("SELECT name, key FROM database_keys WHERE name IN (?, ?) ORDER BY name")
        .bind(one, two)
        .all<{ name: string; key: string }>();
    const { results } = await keys();
    expect(results).toEqual([one, two].toSorted().map((name) => ({ name, key: "secret:AUTH_SECRET" })));
    await env.DB.exec("DELETE FROM database_keys");
    const queries = env.MIGRATIONS.find(({ name }) => name.startsWith("0001_"))?.queries ?? [];
    await env.DB.prepare(queries.at(-1) ?? "").run();
    expect((await keys()).results).toEqual(results);
  });

  it("and the channel object knows it, so this also holds while D1 does not answer", async () => {
    const [users, admins] = [await newDatabase(), await newDatabase()];
    const channel = await membersOf(admins);
    const own = await tokenOf(admins, 1);
    await join(channel, {}, {}, own);
    const known = await stubOf(channel).lastKnownSettings();
    expect(known?.value?.authDatabase).toMatchObject({ sharesKeys: true });
    expect((await verdict(channel, await tokenOf(users, 1))).status).toBe(401);
  });

  it("and the server's own tokens carry the database's issuer", async () => {
    const database = await newDatabase({ issuer: "https://one.test" });
    expect((await verdict(await membersOf(database), await tokenOf(database, 1))).status).toBe(200);
  });
});

describe("databases that would accept each other's tokens (AUT8)", () => {
  const url = () => `https://issuer.test/${crypto.randomUUID()}`;

  it("are refused with the other database's name and what to do", async () => {
    const { jwk } = await newKey();
    const address = url();
    const sources = [{ secret: "AUTH_SECRET" }, { jwks_url: address }, { jwks: { keys: [jwk] }, algorithm: "ES256" }];
    for (const source of sources) {
      const [one, two, audience] = [newName(), newName(), crypto.randomUUID()];
      expect((await put(one, { ...source, audience })).status).toBe(200);
      const refused = await put(two, { ...source, audience });
      expect(refused).toMatchObject({ status: 400, field: "audience" });
      expect(refused.detail).toContain(one);
      expect((await call("GET", `/databases/${two}`)).status).toBe(404);
      // A database that has no issuer takes tokens of every issuer.
      expect((await put(two, { ...source, audience, issuer: "https://a.test" })).status).toBe(400);
      expect((await put(two, { ...source, audience: `${audience}-2` })).status).toBe(200);
      expect((await put(two, { ...source })).status).toBe(200);
      expect((await put(one, { ...source, audience })).status).toBe(200);
    }
  });

  it("are refused if they spell the same jwks_url differently", async () => {
    const audience = crypto.randomUUID();
    expect((await put(newName(), { jwks_url: "https://issuer.test/a%20b", audience })).status).toBe(200);
    expect((await put(newName(), { jwks_url: "https://ISSUER.test:443/a b", audience })).status).toBe(400);
  });

  it("may have issuers that differ", async () => {
    const audience = crypto.randomUUID();
    const [one, two] = ["https://one.test", "https://two.test"];
    expect((await put(newName(), { secret: "AUTH_SECRET", audience, issuer: one })).status).toBe(200);
    expect((await put(newName(), { secret: "AUTH_SECRET", audience, issuer: two })).status).toBe(200);
    expect((await put(newName(), { secret: "AUTH_SECRET", audience, issuer: one })).status).toBe(400);
  });

  it("are never both accepted, even if they are set at the same time", async () => {
    for (let round = 0; round < 5; round++) {
      const audience = crypto.randomUUID();
      const answers = await Promise.all([1, 2, 3].map(() => put(newName(), { secret: "AUTH_SECRET", audience })));
      expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 400, 400]);
    }
  });

  it("cannot take another's default audience", async () => {
    const name = newName();
    expect(await put(name, { secret: "AUTH_SECRET", audience: "durable-channels:another" })).toMatchObject({
      status: 400,
      field: "audience",
    });
    expect((await put(name, { secret: "AUTH_SECRET", audience: `durable-channels:${name}` })).status).toBe(200);
  });

  it("are never both accepted with the same dbo_id, even if they are set at the same time", async () => {
    const dbo_id = newNumber();
    const answers = await Promise.all([1, 2, 3].map(() => put(newName(), { secret: "AUTH_SECRET", dbo_id })));
    expect(answers.map(({ status, field }) => `${status} ${field}`).toSorted()).toEqual([
      "200 undefined",
      "400 dbo_id",
      "400 dbo_id",
    ]);
  });
});

describe("the configuration of a database (AUT9)", () => {
  it("names only secrets that begin with AUTH_SECRET", async () => {
    for (const secret of ["API_KEYS", "ALLOWED_ORIGINS", "REALTIME_CANONICAL", "SHORT_SECRET", "MY_AUTH_SECRET"]) {
      const refused = await put(newName(), { secret });
      expect(refused).toMatchObject({ status: 400, field: "secret" });
      expect(refused.detail).toContain("AUTH_SECRET");
    }
    for (const secret of ["AUTH_SECRET", "AUTH_SECRET_2", "AUTH_SECRET_SUPABASE"]) {
      expect((await put(newName(), { secret })).status).toBe(200);
    }
  });

  it.each([
    ["ALLOWED_ORIGINS", 503],
    ["OLD_SECRET", 201],
  ])("keeps working if an earlier version stored it, unless it names a public variable: %s", async (secret, status) => {
    const [name, number] = [newName(), newNumber()];
    const config = JSON.stringify({ dbo_id: number, secret, algorithm: "RS256", id_claim: "sub" });
    await env.DB.prepare("INSERT INTO databases (name, dbo_id, config) VALUES (?, ?, ?)")
      .bind(name, number, config)
      .run();
    expect((await call("POST", `/databases/${name}/tokens`, { id: 1 })).status).toBe(status);
  });

  it("shows the algorithm that is used", async () => {
    const name = newName();
    const dbo_id = newNumber();
    const answered = async (answer: Response) => (await answer.json<{ config: { algorithm: string } }>()).config;
    const config = await answered(await call("PUT", `/databases/${name}`, { dbo_id, secret: "AUTH_SECRET" }));
    expect(config.algorithm).toBe("HS256");
    expect((await answered(await call("GET", `/databases/${name}`))).algorithm).toBe("HS256");
    expect((await answered(await call("PUT", `/databases/${name}`, config))).algorithm).toBe("HS256");
    const legacy = { ...config, algorithm: "RS256" };
    await env.DB.prepare("UPDATE databases SET config = ? WHERE name = ?").bind(JSON.stringify(legacy), name).run();
    const { databases } = await (
      await call("GET", `/databases?limit=1&after=${name.slice(0, -1)}`)
    ).json<{ databases: { database: string; config: { algorithm: string } }[] }>();
    expect(databases[0]).toMatchObject({ database: name, config: { algorithm: "HS256" } });
    const { jwk } = await newKey();
    const keys = { jwks: { keys: [jwk] } };
    expect((await answered(await call("PUT", `/databases/${name}`, { dbo_id, ...keys }))).algorithm).toBe("RS256");
    expect(await put(name, { ...keys, algorithm: "HS256" })).toMatchObject({ status: 400, field: "algorithm" });
  });

  it.each(["aud", "exp", "iat", "iss", "nbf"])("does not allow the id or the extras in the claim %s", async (claim) => {
    expect(await put(newName(), { secret: "AUTH_SECRET", id_claim: claim })).toMatchObject({ field: "id_claim" });
    expect(await put(newName(), { secret: "AUTH_SECRET", extras_claim: claim })).toMatchObject({
      field: "extras_claim",
    });
  });
});
