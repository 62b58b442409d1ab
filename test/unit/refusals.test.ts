import { evictDurableObject, listDurableObjectIds, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { forgetSettings } from "../../src/settings/known-settings.ts";
import type { Identity } from "../../src/auth/policy.ts";
import { IDENTITY_HEADER } from "../../src/channel/identity-header.ts";
import { SettingsStore } from "../../src/settings/channel-settings.ts";
import { call, connect, connectToMany, newDatabase, publish, stubOf, tokenOf } from "./support.ts";

/** How far the clock of the tests is ahead, in milliseconds. */
let ahead = 0;
beforeEach(() => {
  ahead = 0;
  const now = Date.now;
  vi.spyOn(Date, "now").mockImplementation(() => now() + ahead);
});
afterEach(() => vi.restoreAllMocks());

/** A caller's attempt, by its token or without one; returns the code of the refusal, "allowed" if there is none. */
type Attempt = (channel: string, token: string | null) => Promise<string>;

const codeOf = (type: string) => type.replace("/problems/", "");
const refusalIn = async (answer: Response) =>
  answer.ok ? "allowed" : codeOf((await answer.json<{ type: string }>()).type);
const bearer = (token: string | null): Record<string, string> =>
  token === null ? {} : { Authorization: `Bearer ${token}` };
const pathOf = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

const post =
  (more: object = {}): Attempt =>
  async (channel, token) =>
    refusalIn(await call("POST", "/message", { channel, message: 1, ...more }, token));
const postMany: Attempt = async (channel, token) => {
  const answer = await call("POST", "/messages", [{ channel, message: 1 }], token);
  const [result] = (await answer.json<{ results: { status: number; type: string }[] }>()).results;
  return result?.status === 201 ? "allowed" : codeOf(result?.type ?? "");
};
const get =
  (name: string): Attempt =>
  async (channel, token) =>
    refusalIn(await call("GET", `${pathOf(channel)}/${name}`, undefined, token));
const open: Attempt = (channel, token) =>
  connect(channel, bearer(token)).then(
    () => "allowed",
    (error: Error) => codeOf((JSON.parse(error.message.slice(4)) as { type: string }).type),
  );
const joinOverMany: Attempt = async (channel, token) => {
  const socket = await connectToMany(bearer(token));
  socket.send({ action: "join", options: { channel } });
  const { action, payload } = await socket.frame();
  return action === "join" ? "allowed" : (payload as { code: string }).code;
};

const ENDPOINTS: [string, Attempt][] = [
  ["POST /message", post()],
  ["POST /messages", postMany],
  ["GET messages", get("messages")],
  ["GET messages since a time", get("messages?since=2026-01-01T00:00:00Z")],
  ["GET presence", get("presence")],
  ["the socket", open],
  ["a join over /rt/", joinOverMany],
];

/** Opens everything to everyone. */
const ALL = {
  anonymous_clients: true,
  message_history: 100,
  presence: true,
  public_messaging: { active: true },
};

/** Settings of a pattern, which endpoints they refuse to a caller, and with which code. */
const SITUATIONS: [string, object | null, (name: string) => boolean, string][] = [
  ["there are no settings", null, () => true, "unauthorized"],
  ["the channel is not active", { ...ALL, active: false }, () => true, "forbidden"],
  ["anonymous clients are not admitted", { ...ALL, anonymous_clients: false }, () => true, "unauthorized"],
  ["there is no history", { ...ALL, message_history: 0 }, (name) => name.startsWith("GET messages"), "forbidden"],
  ["there is no presence", { ...ALL, presence: false }, (name) => name === "GET presence", "forbidden"],
  ["there is no messaging", { ...ALL, public_messaging: {} }, (name) => name.startsWith("POST"), "forbidden"],
];

const REFUSED = SITUATIONS.flatMap(([situation, settings, concerns, code]) =>
  ENDPOINTS.filter(([name]) => concerns(name)).map(
    ([name, attempt]) => [name, situation, settings, attempt, code] as const,
  ),
);

/** Returns the name of an unused channel. Its settings, if any, come from its pattern. */
async function newUnusedChannel(settings: object | null): Promise<string> {
  const root = `r${crypto.randomUUID()}`;
  if (settings) expect((await call("PUT", pathOf(`${root}/*`), settings)).status).toBe(200);
  return `${root}/42`;
}

async function objectExists(channel: string): Promise<boolean> {
  const id = env.CHANNELS.idFromName(channel);
  return (await listDurableObjectIds(env.CHANNELS)).some((one) => one.equals(id));
}

/** What a channel's object has in its storage. */
function storedIn(channel: string) {
  return runInDurableObject(stubOf(channel), async (_, { storage }) => ({
    tables: storage.sql.exec("SELECT name FROM sqlite_master").toArray(),
    alarm: await storage.getAlarm(),
  }));
}
const NOTHING = { tables: [], alarm: null };

describe("a refused caller creates no channel object (ERR3)", () => {
  it.each(REFUSED)("at %s, if %s", async (_name, _situation, settings, attempt, code) => {
    const channel = await newUnusedChannel(settings);
    for (let n = 1; n <= 2; n++) expect(await attempt(channel, null)).toBe(code);
    expect(await objectExists(channel)).toBe(false);
  });

  it.each(ENDPOINTS)("at %s, with a bad token", async (_name, attempt) => {
    const channel = await newUnusedChannel({ ...ALL, database: await newDatabase() });
    expect(await attempt(channel, "no.good.token")).toBe("unauthorized");
    expect(await objectExists(channel)).toBe(false);
  });

  it("with a message for the users of another database", async () => {
    const [database, other] = [await newDatabase(), await newDatabase()];
    const channel = await newUnusedChannel({ ...ALL, database });
    expect(await post({ database: other })(channel, await tokenOf(database, 1))).toBe("forbidden");
    expect(await post({ database })(channel, null)).toBe("unauthorized");
    expect(await objectExists(channel)).toBe(false);
  });

  it("but a caller that is admitted does", async () => {
    const channel = await newUnusedChannel(ALL);
    expect(await post()(channel, null)).toBe("allowed");
    expect(await objectExists(channel)).toBe(true);
  });
});

describe("an object that refuses", () => {
  const anonymous: Identity = { kind: "anonymous" };
  const CALLS: [string, Identity, (channel: string) => Promise<unknown>][] = [
    [
      "publish",
      anonymous,
      (channel) =>
        stubOf(channel).publish([
          { who: anonymous, messages: [{ payload: "1", client: null, database: null, type: null }] },
        ]),
    ],
    [
      "publish to a wrong database",
      { kind: "server" },
      (channel) =>
        stubOf(channel).publish([
          { who: { kind: "server" }, messages: [{ payload: "1", client: null, database: "other", type: null }] },
        ]),
    ],
    ["history", anonymous, (channel) => stubOf(channel).history(anonymous, { limit: 10 })],
    ["locate", anonymous, (channel) => stubOf(channel).locate(anonymous, [0])],
    ["presence", anonymous, (channel) => stubOf(channel).presence(anonymous, 10)],
    [
      "a socket",
      anonymous,
      (channel) => {
        const headers = { Upgrade: "websocket", [IDENTITY_HEADER]: encodeURIComponent(JSON.stringify(anonymous)) };
        return stubOf(channel)
          .fetch("https://channels.test/", { headers })
          .then((answer) => answer.json());
      },
    ],
  ];
  const SETTINGS = [null, { active: false }, { ...ALL, anonymous_clients: false }];

  it.each(CALLS)("%s stores nothing", async (_, _who, attempt) => {
    for (const settings of SETTINGS) {
      const channel = await newUnusedChannel(settings);
      for (let n = 1; n <= 2; n++) {
        expect(JSON.stringify(await attempt(channel))).toMatch(/"(unauthorized|forbidden)"/);
        expect(await storedIn(channel)).toEqual(NOTHING);
        await evictDurableObject(stubOf(channel));
      }
    }
  });

  it("stores nothing when its settings are set, and its copy when it is used", async () => {
    const channel = `r${crypto.randomUUID()}`;
    await call("PUT", pathOf(channel), ALL);
    expect(await storedIn(channel)).toEqual(NOTHING);
    await publish(channel, "first");
    const stored = () => runInDurableObject(stubOf(channel), (_, { storage }) => storage.kv.get("settings"));
    expect(await stored()).toMatchObject({ holding: { channel, settings: ALL } });
    await evictDurableObject(stubOf(channel));
    await call("PUT", pathOf(channel), { ...ALL, presence: false });
    expect(await stored()).toMatchObject({ holding: { settings: { presence: false } } });
  });

  it("stores settings that it learns after its first message, too", async () => {
    const channel = `r${crypto.randomUUID()}`;
    await publish(channel, "by the API key, which needs no settings");
    await evictDurableObject(stubOf(channel));
    await call("PUT", pathOf(channel), ALL);
    const stored = await runInDurableObject(stubOf(channel), (_, { storage }) => storage.kv.get("settings"));
    expect(stored).toMatchObject({ holding: { settings: ALL } });
  });
});

describe("a channel that another isolate has just opened", () => {
  it.each(ENDPOINTS)("is open after about a second, at %s", async (_, attempt) => {
    const channel = await newUnusedChannel(null);
    for (let round = 1; round <= 2; round++) {
      expect(await attempt(channel, null)).toBe("unauthorized");
      await new SettingsStore(env.DB).put(channel, {
        ...ALL,
        active: true,
        description: "",
        public_messaging: { active: true, auth: false },
        private_messaging: { active: false, auth: false },
        message_history: 100,
        nested_channels: false,
        auth_channel: false,
        anonymous_bytes_per_day: null,
        database: null,
      });
      ahead += 1_000;
      expect(await attempt(channel, null)).toBe("allowed");
      await new SettingsStore(env.DB).delete(channel);
      ahead += 5_000;
      forgetSettings(channel);
    }
  });
});
