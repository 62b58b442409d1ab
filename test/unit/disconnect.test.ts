import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { SignJWT } from "jose";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SettingsStore } from "../../src/auth/settings.ts";
import { identityHeaderOf, IDENTITY_HEADER } from "../../src/channel/identity-header.ts";
import { MAX_REVOCATIONS, REVOCATION_LIFETIME_MS } from "../../src/protocol/limits.ts";
import {
  API_KEY,
  call,
  connect,
  connectToMany,
  join,
  newDatabase,
  newOpenChannel,
  publish,
  stubOf,
  type TestSocket,
} from "./support.ts";

const SECRET = new TextEncoder().encode("a secret of the tests, of at least 32 bytes");
const START = Math.floor(Date.now() / 1_000) * 1_000;
let now = START;

beforeEach(() => {
  now = START;
  vi.spyOn(Date, "now").mockImplementation(() => now);
});
afterEach(() => vi.restoreAllMocks());

/** A token of a database, issued so many seconds after the test began. */
function tokenOf(database: string, sub: number | string, iat = -10): Promise<string> {
  const begin = START / 1_000;
  const claims = { sub: String(sub), aud: `durable-channels:${database}`, exp: begin + 86_400 * 365, iat: begin + iat };
  return new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(SECRET);
}

function tokenWithoutTime(database: string, sub: number): Promise<string> {
  const claims = { sub: String(sub), aud: `durable-channels:${database}`, exp: START / 1_000 + 3_600 };
  return new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(SECRET);
}

async function disconnect(database: string, body: object): Promise<unknown> {
  const answer = await call("POST", `/databases/${database}/disconnect`, body);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return answer.json();
}

async function statusOf(channel: string, token: string): Promise<number> {
  return (await call("GET", `/channels/${encodeURIComponent(channel)}/messages`, undefined, token)).status;
}

/** What a socket is told when its user was disconnected. */
async function expectCut(socket: TestSocket): Promise<void> {
  expect((await socket.frame()).payload).toMatchObject({
    code: "unauthorized",
    message: "The user was disconnected; a newer token is needed.",
  });
  expect(await socket.close()).toEqual({ code: 4401, reason: "disconnected" });
}

describe("a disconnected user (AUT11)", () => {
  it("is refused with every token from before, on each endpoint, and admitted with a newer one", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, anonymous_clients: false });
    const [old, other, newer] = [await tokenOf(database, 1), await tokenOf(database, 2), await tokenOf(database, 1, 1)];
    expect(await statusOf(channel, old)).toBe(200);
    expect(await disconnect(database, { id: 1 })).toEqual({
      database,
      id: 1,
      revoked_until: new Date(START).toISOString(),
    });
    const statuses = await Promise.all([old, other, newer].map((token) => statusOf(channel, token)));
    expect(statuses).toEqual([401, 200, 200]);
    expect((await call("POST", "/message", { channel, message: 1 }, old)).status).toBe(401);
    await expect(connect(channel, { "Sec-WebSocket-Protocol": old })).rejects.toThrow(/^401.*newer token/);
    const many = await connectToMany({ "Sec-WebSocket-Protocol": old });
    many.send({ action: "join", options: { channel } });
    expect((await many.frame()).payload).toMatchObject({ code: "unauthorized" });
  });

  it("loses its open sockets before the next message, also at /rt/; others stay", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const [one, two] = [await tokenOf(database, 1), await tokenOf(database, 2)];
    const sockets = [await join(channel, {}, {}, one), await join(channel, {}, {}, one)];
    const many = await connectToMany({ "Sec-WebSocket-Protocol": one });
    many.send({ action: "join", options: { channel } });
    expect((await many.frame()).action).toBe("join");
    const anonymous = await connect(channel);
    const server = await connect(channel, { Authorization: `Bearer ${API_KEY}` });
    const staying = [await join(channel, {}, {}, two), anonymous, server];
    for (const socket of [anonymous, server]) {
      socket.send({ action: "join" });
      await socket.frame();
    }
    await disconnect(database, { id: 1 });
    now += 5_000;
    await publish(channel, "for those who stay");
    for (const socket of sockets) await expectCut(socket);
    expect((await many.frame()).payload).toMatchObject({ code: "unauthorized" });
    for (const socket of staying) expect((await socket.frame()).payload).toBe("for those who stay");
    many.send({ action: "join", options: { channel } });
    expect((await many.frame()).payload).toMatchObject({ code: "unauthorized" });
  });

  it("loses its socket to a channel that sleeps, before it can say anything", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const socket = await join(channel, {}, {}, await tokenOf(database, "auth0|carol"));
    await disconnect(database, { id: "auth0|carol" });
    await evictDurableObject(stubOf(channel));
    now += 5_000;
    socket.send({ action: "message", payload: "too late" });
    await expectCut(socket);
    expect((await call("GET", `/channels/${encodeURIComponent(channel)}/messages`)).status).toBe(200);
    const { seq } = await publish(channel, 1);
    expect(seq).toBe(1);
  });

  it("is one among all: with no id, all users of the database are disconnected", async () => {
    const [database, untouched] = [await newDatabase(), await newDatabase()];
    const channel = await newOpenChannel({ database });
    const elsewhere = await newOpenChannel({ database: untouched, anonymous_clients: false });
    const sockets = [
      await join(channel, {}, {}, await tokenOf(database, 1)),
      await join(channel, {}, {}, await tokenOf(database, 2)),
    ];
    const anonymous = await join(channel);
    expect(await disconnect(database, {})).toMatchObject({ id: null });
    now += 5_000;
    await publish(channel, 1);
    for (const socket of sockets) await expectCut(socket);
    expect((await anonymous.frame()).payload).toBe(1);
    expect(await statusOf(channel, await tokenOf(database, 3))).toBe(401);
    expect(await statusOf(channel, await tokenOf(database, 3, 1))).toBe(200);
    expect(await statusOf(elsewhere, await tokenOf(untouched, 1))).toBe(200);
  });

  it("is not admitted by the object, though a Worker does not know yet", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    await disconnect(database, { id: 1 });
    const known = await new SettingsStore(env.DB).resolve(channel);
    const user = { kind: "user" as const, database, dbo_id: 1, row_id: 1, extras: {}, expires: START + 60_000 };
    const faultOf = (issued: number | undefined) =>
      runInDurableObject(stubOf(channel), async (object) => {
        object.configure(known, 0);
        const who = { ...user, ...(issued !== undefined && { issued }) };
        const headers = { Upgrade: "websocket", [IDENTITY_HEADER]: identityHeaderOf(who) };
        const answer = await object.fetch(new Request("https://x.test", { headers }));
        return answer.status === 101 ? "admitted" : (await answer.json<{ code: string }>()).code;
      });
    expect(await faultOf(START)).toBe("unauthorized");
    expect(await faultOf(undefined)).toBe("unauthorized");
    expect(await faultOf(START + 1_000)).toBe("admitted");
  });

  it("cannot prove by a token without iat that it is newer", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, anonymous_clients: false });
    await disconnect(database, { id: 1 });
    expect(await statusOf(channel, await tokenWithoutTime(database, 1))).toBe(401);
    expect(await statusOf(channel, await tokenWithoutTime(database, 2))).toBe(200);
  });

  it("is one for a number and for its digits, and may have any name", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, anonymous_clients: false });
    for (const [id, sub] of [
      ["1", 1],
      [2, "2"],
      ["__proto__", "__proto__"],
      [`a"b\\`, `a"b\\`],
    ] as const) {
      const token = await tokenOf(database, sub);
      expect(await statusOf(channel, token)).toBe(200);
      await disconnect(database, { id });
      expect(await statusOf(channel, token)).toBe(401);
    }
    expect(await statusOf(channel, await tokenOf(database, "constructor"))).toBe(200);
  });

  it("is forgotten after 30 days", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, anonymous_clients: false });
    const token = await tokenOf(database, 1);
    await disconnect(database, { id: 1 });
    now += REVOCATION_LIFETIME_MS;
    expect(await statusOf(channel, token)).toBe(401);
    now += 1;
    expect(await statusOf(channel, token)).toBe(200);
  });

  it("stays disconnected when the database is configured again", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, anonymous_clients: false });
    await disconnect(database, { id: 1 });
    const { config } = await (await call("GET", `/databases/${database}`)).json<{ config: object }>();
    expect((await call("PUT", `/databases/${database}`, config)).status).toBe(200);
    expect(await statusOf(channel, await tokenOf(database, 1))).toBe(401);
  });
});

describe("POST /databases/{name}/disconnect (AUT11)", () => {
  const stored = async (database: string) => {
    const row = await env.DB.prepare("SELECT revocations FROM databases WHERE name = ?").bind(database).first();
    return JSON.parse(String(row?.["revocations"])) as Record<string, number>;
  };

  it("loses none of those that arrive at once", async () => {
    const database = await newDatabase();
    await Promise.all([1, 2, 3, 4].map((id) => disconnect(database, { id })));
    expect(Object.keys(await stored(database))).toEqual(["1", "2", "3", "4"]);
  });

  it("keeps the later time of two requests that overtake each other", async () => {
    const database = await newDatabase();
    await disconnect(database, { id: 1 });
    now -= 2_000;
    await disconnect(database, { id: 1 });
    await disconnect(database, {});
    expect(await stored(database)).toEqual({ "1": START, "": START - 2_000 });
    now += 3_000;
    await disconnect(database, {});
    expect(await stored(database)).toEqual({ "": START + 1_000 });
  });

  it("keeps a bounded number of users, and says what to do beyond", async () => {
    const database = await newDatabase();
    const many = Object.fromEntries(Array.from({ length: MAX_REVOCATIONS }, (_, index) => [`u${index}`, START]));
    const text = JSON.stringify(many);
    await env.DB.prepare("UPDATE databases SET revocations = ? WHERE name = ?").bind(text, database).run();
    await disconnect(database, { id: "u0" });
    const refused = await call("POST", `/databases/${database}/disconnect`, { id: "one more" });
    expect(refused.status).toBe(400);
    const full = await call("POST", `/databases/${database}/disconnect`, { id: "one-more" });
    expect([full.status, await full.json()]).toMatchObject([400, { field: "id", limit: MAX_REVOCATIONS }]);
    now += REVOCATION_LIFETIME_MS + 1;
    await disconnect(database, { id: "one-more" });
    expect(Object.keys(await stored(database))).toEqual(["one-more"]);
    await disconnect(database, {});
    expect(Object.keys(await stored(database))).toEqual([""]);
  });

  it("is for the API key, and for databases that exist", async () => {
    const database = await newDatabase();
    expect((await call("POST", `/databases/${database}/disconnect`, {}, null)).status).toBe(401);
    expect((await call("POST", `/databases/${database}/disconnect`, {}, await tokenOf(database, 1))).status).toBe(401);
    expect((await call("POST", "/databases/nowhere/disconnect", {})).status).toBe(404);
    for (const wrong of [[], { id: 0 }, { id: "" }, { id: null }, { user: 1 }]) {
      expect((await call("POST", `/databases/${database}/disconnect`, wrong)).status).toBe(400);
    }
    expect(await stored(database)).toEqual({});
  });
});
