import { beforeAll, describe, expect, it } from "vitest";
import type { Action } from "../../src/auth/policy.ts";
import {
  API_KEY,
  call,
  connect,
  connectToMany,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  tokenOf,
} from "./support.ts";
import { ROWS, settingsOf } from "./permissions.ts";

const CODES: Record<number, string> = { 401: "unauthorized", 403: "forbidden" };
const pathOf = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

/** By HTTP or by opening a socket, somebody tries to do something; returns `yes` or the code of the refusal. */
type Attempt = (channel: string, credential: string | null, database: string) => Promise<string>;

const outcome = ({ ok, status }: { ok: boolean; status: number }) => (ok ? "yes" : (CODES[status] ?? String(status)));

const post =
  (restricted: boolean): Attempt =>
  async (channel, credential, database) =>
    outcome(await call("POST", "/message", { channel, message: 1, ...(restricted && { database }) }, credential));

const postMany =
  (restricted: boolean): Attempt =>
  async (channel, credential, database) => {
    const answer = await call(
      "POST",
      "/messages",
      [{ channel, message: 1, ...(restricted && { database }) }],
      credential,
    );
    const [result] = (await answer.json<{ results: { status: number }[] }>()).results;
    const status = result?.status ?? 0;
    return outcome({ ok: status === 201, status });
  };

const get =
  (name: string): Attempt =>
  async (channel, credential) =>
    outcome(await call("GET", `${pathOf(channel)}/${name}`, undefined, credential));

const open: Attempt = (channel, credential) =>
  connect(channel, credential === null ? {} : { Authorization: `Bearer ${credential}` }).then(
    () => "yes",
    (error: Error) => outcome({ ok: false, status: Number(error.message.slice(0, 3)) }),
  );

const joinOverMany: Attempt = async (channel, credential) => {
  const socket = await connectToMany(credential === null ? {} : { Authorization: `Bearer ${credential}` });
  socket.send({ action: "join", options: { channel } });
  const { action, payload } = await socket.frame();
  return action === "join" ? "yes" : (payload as { code: string }).code;
};

const ATTEMPTS: [string, Action, Attempt][] = [
  ["POST /message", "publish", post(false)],
  ["POST /messages", "publish", postMany(false)],
  ["POST /message to users", "message-authenticated", post(true)],
  ["POST /messages to users", "message-authenticated", postMany(true)],
  ["GET messages", "history", get("messages")],
  ["GET presence", "presence", get("presence")],
  ["the socket", "subscribe", open],
  ["/rt/", "subscribe", joinOverMany],
];

let users: string;
let token: string;
beforeAll(async () => {
  users = await newDatabase({ issuer: "https://users.test" });
  token = await tokenOf(users, 1);
});

/** Rows about a caller whose token the channel's database has not verified: such a token is not valid there. */
const isOfOpenSockets = (who: string, difference: string) =>
  who === "user of another database" || (who === "user" && difference === "`database: null`");

describe("the table in docs/permissions.md, at every endpoint (AUT2)", () => {
  const rows = ROWS.filter(({ who, difference }) => !isOfOpenSockets(who, difference));

  it.each(rows)("$who, $difference", async (row) => {
    const channel = newChannel();
    const settings = settingsOf(row, users);
    if (settings) expect((await call("PUT", pathOf(channel), settings)).status).toBe(200);
    const credential = { "server side": API_KEY, user: token, anybody: null }[row.who] as string | null;
    for (const [name, action, attempt] of ATTEMPTS) {
      // The server side may do everything, but a message needs users whom it could be for (EVT2).
      const isForNobody = row.who === "server side" && action === "message-authenticated" && !settings;
      const expected = isForNobody ? "forbidden" : row.expected[action];
      expect(await attempt(channel, credential, users), name).toBe(expected);
    }
  });
});

describe("a token that is not one of the channel's auth database (AUT12)", () => {
  const OPEN = { presence: true, private_messaging: { active: true } };

  it.each(ATTEMPTS)(
    "is not valid on a channel without one, and counts for nothing over /rt/: %s",
    async (name, _, attempt) => {
      const channel = await newOpenChannel(OPEN);
      expect(await attempt(channel, token, users)).toBe(name === "/rt/" ? "yes" : "unauthorized");
    },
  );

  it.each(ATTEMPTS)("is not valid on a channel with another: %s", async (_name, _, attempt) => {
    const channel = await newOpenChannel({ ...OPEN, database: await newDatabase({ issuer: "https://others.test" }) });
    expect(await attempt(channel, token, users)).toBe("unauthorized");
  });

  it.each(["another", null])(
    "is forbidden on an open socket when the channel's database becomes %s",
    async (database) => {
      const channel = await newOpenChannel({ database: users });
      const socket = await join(channel, {}, {}, token);
      const other = database === null ? null : await newDatabase();
      await call("PUT", pathOf(channel), { anonymous_clients: true, database: other });
      expect((await socket.frame()).payload).toMatchObject({ code: "forbidden" });
      await expect(socket.frame()).rejects.toThrow("closed with 4403");
    },
  );
});
