import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import * as v from "valibot";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FreshCopy } from "../../src/shared/fresh-copy.ts";
import { SettingsStore } from "../../src/settings/channel-settings.ts";
import { FrameHandler } from "../../src/channel/frame-handler.ts";
import { ChannelSettings } from "../../src/protocol/channel-settings.ts";
import {
  call,
  connect,
  connectToMany,
  faultyD1,
  join,
  newDatabase,
  publish,
  stubOf,
  type TestSocket,
} from "./support.ts";

/** How far the clock of the tests is ahead, in milliseconds. */
let ahead = 0;
beforeEach(() => {
  ahead = 0;
  const now = Date.now;
  vi.spyOn(Date, "now").mockImplementation(() => now() + ahead);
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Steps the clock past the age that settings may have. */
const waitForSettings = () => void (ahead += 5_000);

const OPEN = {
  anonymous_clients: true,
  message_history: 100,
  presence: true,
  public_messaging: { active: true },
  private_messaging: { active: true },
};
const store = () => new SettingsStore(env.DB);
/** Stores settings as another isolate does whose message to the channel object is lost. */
const put = (name: string, settings: object) => store().put(name, v.parse(ChannelSettings, settings));
const path = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

/** Ways to close a channel and to open it again. */
const CHANGES: Record<string, { close: (root: string) => Promise<void>; open: (root: string) => Promise<void> }> = {
  "its own settings change": {
    close: (root) => put(`${root}/42`, { ...OPEN, active: false }),
    open: (root) => put(`${root}/42`, OPEN),
  },
  "its pattern changes": {
    close: (root) => put(`${root}/*`, { ...OPEN, active: false }),
    open: (root) => put(`${root}/*`, OPEN),
  },
  "its pattern is deleted": {
    close: (root) => store().delete(`${root}/*`),
    open: (root) => put(`${root}/*`, OPEN),
  },
  "a nearer pattern overrides": {
    close: (root) =>
      put(root, { ...OPEN, active: false, nested_channels: true }).then(() => store().delete(`${root}/*`)),
    open: (root) => put(`${root}/*`, OPEN),
  },
};

/** Prepares an action; the returned function reports whether the action was allowed. */
type Action = (channel: string) => Promise<() => Promise<boolean>>;

const status = async (answer: Promise<Response>) => (await answer).ok;

/** Whether the frame after this one is something other than an error. */
async function isTaken(socket: TestSocket, frame: object): Promise<boolean> {
  if (socket.closed) return false;
  socket.send(frame);
  return (await socket.frame()).action !== "error";
}

/** A joined socket over `/rt/`. */
async function joinOverMany(channel: string): Promise<TestSocket & { socketId: string }> {
  const socket = await connectToMany();
  socket.send({ action: "join", options: { channel } });
  const { action, client } = await socket.frame();
  if (action !== "join" || !client) throw new Error(`got ${action} in place of a join`);
  return Object.assign(socket, { socketId: client.socketId });
}

async function joinDirectly(channel: string): Promise<TestSocket & { socketId: string }> {
  const socket = await join(channel);
  return Object.assign(socket, { socketId: socket.client.socketId });
}

const SOCKETS: [string, typeof joinDirectly][] = [
  ["the channel's socket", joinDirectly],
  ["/rt/", joinOverMany],
];

const HTTP_ACTIONS: [string, Action][] = [
  ["POST /message", async (channel) => () => status(call("POST", "/message", { channel, message: 1 }, null))],
  [
    "POST /messages",
    async (channel) => async () => {
      const answer = await call("POST", "/messages", [{ channel, message: 1 }], null);
      return (await answer.json<{ results: { status: number }[] }>()).results[0]?.status === 201;
    },
  ],
  ["GET messages", async (channel) => () => status(call("GET", `${path(channel)}/messages`, undefined, null))],
  ["GET presence", async (channel) => () => status(call("GET", `${path(channel)}/presence`, undefined, null))],
  [
    "connect",
    async (channel) => () =>
      connect(channel).then(
        () => true,
        () => false,
      ),
  ],
  [
    "join",
    async (channel) => {
      const socket = await connect(channel);
      return () => isTaken(socket, { action: "join" });
    },
  ],
  [
    "join over /rt/",
    async (channel) => {
      const socket = await connectToMany();
      return () => isTaken(socket, { action: "join", options: { channel } });
    },
  ],
];

const FRAME_ACTIONS: [string, Action][] = SOCKETS.flatMap(([over, enter]): [string, Action][] => [
  [
    `message frame over ${over}`,
    async (channel) => {
      const socket = await enter(channel);
      return () => isTaken(socket, { action: "message", options: { channel }, payload: 1 });
    },
  ],
  [
    `history frame over ${over}`,
    async (channel) => {
      const socket = await enter(channel);
      return () => isTaken(socket, { action: "history", options: { channel } });
    },
  ],
  [
    `private message over ${over}`,
    async (channel) => {
      const socket = await enter(channel);
      const options = { channel, socketId: socket.socketId };
      return () => isTaken(socket, { action: "message", options, payload: 1 });
    },
  ],
  [
    `delivery over ${over}`,
    async (channel) => {
      const socket = await enter(channel);
      return async () => {
        await publish(channel, "live");
        return (await socket.frame()).payload === "live";
      };
    },
  ],
]);

const newRoot = () => `s${crypto.randomUUID()}`;

describe.each(Object.entries(CHANGES))("when %s without a message to the channel object (SET1)", (_, change) => {
  it.each([...HTTP_ACTIONS, ...FRAME_ACTIONS])("%s follows within 5 s, each time", async (_name, prepare) => {
    const root = newRoot();
    const channel = `${root}/42`;
    await change.open(root);
    for (let round = 1; round <= 2; round++) {
      expect(await (await prepare(channel))(), `open, round ${round}`).toBe(true);
      const act = await prepare(channel);
      await change.close(root);
      waitForSettings();
      expect(await act(), `closed, round ${round}`).toBe(false);
      await change.open(root);
      waitForSettings();
    }
  });

  it.each([...HTTP_ACTIONS, ...FRAME_ACTIONS])("%s follows at once after hibernation", async (_name, prepare) => {
    const root = newRoot();
    const channel = `${root}/42`;
    await change.open(root);
    expect(await (await prepare(channel))()).toBe(true);
    const act = await prepare(channel);
    await evictDurableObject(stubOf(channel));
    await change.close(root);
    waitForSettings();
    expect(await act()).toBe(false);
  });
});

describe("a message for the users of a database", () => {
  it("is refused within 5 s after the channel's database changed (EVT2)", async () => {
    const [before, after] = [await newDatabase(), await newDatabase()];
    const root = newRoot();
    const channel = `${root}/42`;
    for (const [database, other] of [
      [before, after],
      [after, before],
    ] as const) {
      await put(`${root}/*`, { ...OPEN, database });
      waitForSettings();
      expect((await call("POST", "/message", { channel, message: 1, database })).status).toBe(201);
      expect((await call("POST", "/message", { channel, message: 1, database: other })).status).toBe(403);
    }
  });
});

const FAULTS: [string, (send: () => Promise<unknown>) => Promise<unknown>][] = [
  ["fails", () => Promise.reject(new Error("D1_ERROR: on purpose"))],
  ["hangs", () => new Promise(() => {})],
  ["takes 3 s", (send) => new Promise((resolve) => setTimeout(() => resolve(send()), 3_000))],
];

const actionOf = (name: string) => {
  const found = [...HTTP_ACTIONS, ...FRAME_ACTIONS].find(([known]) => known === name);
  if (!found) throw new Error(`no action ${name}`);
  return found;
};

const STEADY = [
  "POST /message",
  "GET messages",
  "message frame over the channel's socket",
  "message frame over /rt/",
  "delivery over the channel's socket",
].map(actionOf);

describe.each(FAULTS)("while D1 %s", (_kind, fault) => {
  beforeEach(() => void vi.spyOn(console, "error").mockImplementation(() => {}));

  it.each(STEADY)("the last known settings hold for %s, and only the first one waits", async (_, prepare) => {
    const root = newRoot();
    const channel = `${root}/42`;
    await put(`${root}/*`, OPEN);
    const act = await prepare(channel);
    expect(await act()).toBe(true);
    waitForSettings();
    const d1 = faultyD1("channels", fault);
    const waits = vi.spyOn(FreshCopy.prototype, "refreshed");
    for (let n = 0; n < 20; n++) {
      expect(await act()).toBe(true);
      ahead += 400;
      // The Worker and the object each have a copy, and each waits once.
      if (n === 0) expect(waits.mock.calls.length).toBeOneOf([1, 2]);
      if (n === 0) waits.mockClear();
    }
    expect(waits).not.toHaveBeenCalled();
    expect(d1.sent).toBeLessThanOrEqual(12);
    d1.end();
  });

  it("one attempt follows another until D1 is back, and then the channel obeys again, twice", async () => {
    const root = newRoot();
    const channel = `${root}/42`;
    await put(`${root}/*`, OPEN);
    const act = await actionOf("POST /message")[1](channel);
    expect(await act()).toBe(true);
    for (let round = 1; round <= 2; round++) {
      const d1 = faultyD1("channels", fault);
      for (let n = 0; n < 10; n++) {
        ahead += 2_000;
        expect(await act()).toBe(true);
      }
      d1.end();
      await put(`${root}/*`, { ...OPEN, active: false });
      waitForSettings();
      await vi.waitUntil(async () => !(await act()), { timeout: 10_000 });
      await put(`${root}/*`, OPEN);
      await vi.waitUntil(() => {
        waitForSettings();
        return act();
      });
      // From here on no action is judged by older settings again.
      await put(`${root}/*`, { ...OPEN, active: false });
      waitForSettings();
      expect(await act()).toBe(false);
      await put(`${root}/*`, OPEN);
      waitForSettings();
      expect(await act()).toBe(true);
    }
  });
});

const slowly = (send: () => Promise<unknown>) => new Promise((resolve) => setTimeout(() => resolve(send()), 200));

describe("frames that wait for settings", () => {
  it("take effect in the order of sending, and a close takes effect after them", async () => {
    const root = newRoot();
    const channel = `${root}/42`;
    await put(`${root}/*`, OPEN);
    const [sender, other] = [await join(channel), await join(channel)];
    for (let round = 0; round < 2; round++) {
      waitForSettings();
      const d1 = faultyD1("channels", slowly);
      // Its load begins outside of the object's critical section, and does not hold the frames up.
      const published = publish(channel, "published");
      for (let n = 1; n <= 5; n++) sender.send({ action: "message", payload: n });
      if (round === 1) sender.socket.close(1000);
      const payloads = (await other.frames(6)).map(({ payload }) => payload as unknown);
      expect(payloads.filter((payload) => payload !== "published")).toEqual([1, 2, 3, 4, 5]);
      await published;
      d1.end();
    }
    await vi.waitUntil(async () => {
      const answer = await call("GET", `${path(channel)}/presence`);
      return (await answer.json<{ total: number }>()).total === 1;
    });
  });

  it("leave the object unchanged if handling one of them fails", async () => {
    const root = newRoot();
    const channel = `${root}/42`;
    await put(`${root}/*`, OPEN);
    const socket = await join(channel);
    const instance = () => runInDurableObject(stubOf(channel), (object) => object);
    const before = await instance();
    const hear = vi.spyOn(FrameHandler.prototype, "handle").mockImplementationOnce(() => {
      throw new Error("on purpose");
    });
    waitForSettings();
    socket.send({ action: "message", payload: "lost" });
    await vi.waitUntil(() => hear.mock.calls.length === 1);
    socket.send({ action: "message", payload: "taken" });
    expect((await socket.frame()).payload).toBe("taken");
    expect(await instance()).toBe(before);
  });
});

describe("a channel in steady use", () => {
  it("refreshes its settings in the background before they are too old", async () => {
    const root = newRoot();
    const channel = `${root}/42`;
    await put(`${root}/*`, OPEN);
    const socket = await join(channel);
    for (let round = 1; round <= 2; round++) {
      ahead += 2_500;
      const loaded = Promise.withResolvers<void>();
      const d1 = faultyD1("channels", (send) => slowly(send).finally(loaded.resolve));
      for (const message of ["begins the load", "does not wait for it"]) {
        await publish(channel, message);
        expect((await socket.frame()).payload).toBe(message);
        expect(d1.sent).toBe(1);
      }
      await loaded.promise;
      d1.end();
    }
  });

  it("needs no settings if an API-key client publishes and nobody has joined", async () => {
    const channel = `${newRoot()}/42`;
    await publish(channel, "first");
    waitForSettings();
    const d1 = faultyD1("channels", () => new Promise(() => {}));
    await publish(channel, "second");
    expect(d1.sent).toBe(0);
    d1.end();
  });
});
