import { describe, expect, it } from "vitest";
import { type Action, authorize, type Identity } from "../../src/auth/policy.ts";
import { ChannelSettings } from "../../src/protocol/channel-settings.ts";
import * as v from "valibot";
import {
  API_KEY,
  call,
  connect,
  join,
  newDatabase,
  newOpenChannel,
  publish,
  tokenOf,
  type TestSocket,
} from "./support.ts";

const CHANGES: object[] = [
  {},
  { active: false },
  { anonymous_clients: false },
  { message_history: 0 },
  { presence: false },
  { public_messaging: { active: false } },
  { public_messaging: { active: true, auth: true } },
  { private_messaging: { active: false } },
  { private_messaging: { active: true, auth: true } },
  { auth_channel: true },
];

/** Calls an endpoint. Returns whether it allowed the action. */
type Attempt = (channel: string, key: string | null) => Promise<boolean>;

async function socketOf(channel: string, key: string | null): Promise<TestSocket> {
  return connect(channel, key === null ? {} : { Authorization: `Bearer ${key}` });
}

/** Sends a frame and then a `leave`. Once the `leave` is answered, the frame has been answered, too. */
async function answersTo(
  channel: string,
  key: string | null,
  frame: object,
): Promise<{ action: string; payload: unknown }[]> {
  const socket = await socketOf(channel, key);
  socket.send({ action: "join" });
  socket.send(frame);
  socket.send({ action: "leave" });
  const answers = [await socket.frame()];
  while (answers.at(-1)?.action !== "leave") answers.push(await socket.frame());
  return answers;
}

const isAllowed = (frames: { action: string }[]) => frames.every(({ action }) => action !== "error");
const get =
  (resource: string): Attempt =>
  async (channel, key) =>
    (await call("GET", `/channels/${encodeURIComponent(channel)}/${resource}`, undefined, key)).ok;

const ENDPOINTS: [string, Action, Attempt][] = [
  [
    "POST /message",
    "publish",
    async (channel, key) => (await call("POST", "/message", { channel, message: 1 }, key)).ok,
  ],
  [
    "POST /messages",
    "publish",
    async (channel, key) => {
      const answer = await call("POST", "/messages", [{ channel, message: 1 }], key);
      return (await answer.json<{ results: { status: number }[] }>()).results[0]?.status === 201;
    },
  ],
  ["GET messages", "history", get("messages")],
  ["GET presence", "presence", get("presence")],
  [
    "the socket's upgrade",
    "subscribe",
    (channel, key) =>
      socketOf(channel, key).then(
        () => true,
        () => false,
      ),
  ],
  [
    "a history frame",
    "history",
    async (channel, key) => isAllowed(await answersTo(channel, key, { action: "history" })),
  ],
  [
    "a join's history",
    "history",
    async (channel, key) => {
      const frames = await answersTo(channel, key, { action: "join", payload: { history: true } });
      return frames.some(({ action }) => action === "history");
    },
  ],
  [
    "a join's presence",
    "presence",
    async (channel, key) => {
      const frames = await answersTo(channel, key, { action: "join", payload: { presence: true } });
      return frames.some(({ action }) => action === "presence_full");
    },
  ],
  [
    "a resume",
    "history",
    async (channel, key) => {
      const frames = await answersTo(channel, key, { action: "join", options: { after: 0 } });
      return frames.some(({ payload }) => payload === "published before");
    },
  ],
  [
    "a message frame",
    "message",
    async (channel, key) => isAllowed(await answersTo(channel, key, { action: "message", payload: 1 })),
  ],
  [
    "a message frame for the authenticated",
    "message-authenticated",
    async (channel, key) =>
      isAllowed(await answersTo(channel, key, { action: "message", options: { authenticated: true }, payload: 1 })),
  ],
  [
    "live delivery",
    "receive",
    async (channel, key) => {
      const socket = await socketOf(channel, key);
      socket.send({ action: "join" });
      await socket.frame();
      await publish(channel, "live");
      socket.send({ action: "leave" });
      return (await socket.frame()).payload === "live";
    },
  ],
];

describe("every endpoint decides as authorize() does (AUT2)", () => {
  it.each(ENDPOINTS)("%s: %s", async (_, action, attempt) => {
    const database = await newDatabase();
    const dbo_id = 1;
    const callers: [Identity, string | null][] = [
      [{ kind: "server" }, API_KEY],
      [{ kind: "user", database, dbo_id, row_id: 42, extras: {}, expires: Infinity }, await tokenOf(database, 42)],
      [{ kind: "anonymous" }, null],
    ];
    for (const change of CHANGES) {
      const open = { presence: true, private_messaging: { active: true }, database };
      const channel = await newOpenChannel({ ...open, ...change });
      await publish(channel, "published before");
      const settings = v.parse(ChannelSettings, {
        anonymous_clients: true,
        message_history: 100,
        public_messaging: { active: true },
        ...open,
        ...change,
      });
      for (const [who, key] of callers) {
        const admitted = authorize(who, "subscribe", settings).ok;
        const expected = authorize(who, action, settings).ok;
        const got =
          admitted || action === "publish"
            ? await attempt(channel, key)
            : await attempt(channel, key).catch(() => false);
        expect(got, `${who.kind}, settings ${JSON.stringify(change)}`).toBe(expected);
      }
    }
  });

  it("a private message: message-private", async () => {
    const database = await newDatabase();
    for (const [change, byUser, byAnybody] of [
      [{}, true, true],
      [{ private_messaging: { active: true, auth: true } }, true, false],
      [{ private_messaging: { active: false } }, false, false],
    ] as const) {
      const channel = await newOpenChannel({ private_messaging: { active: true }, database, ...change });
      const recipient = await join(channel);
      const frame = { action: "message", options: { socketId: recipient.client.socketId }, payload: 1 };
      expect(isAllowed(await answersTo(channel, await tokenOf(database, 1), frame))).toBe(byUser);
      expect(isAllowed(await answersTo(channel, null, frame))).toBe(byAnybody);
    }
  });
});
