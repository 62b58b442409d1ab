import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import protocol from "../../PROTOCOL.md?raw";
import { candidatesFor } from "../../src/settings/channel-settings.ts";
import { MAX_UNCONFIRMED_CHARACTERS } from "../../src/channel/backpressure.ts";
import { ADDRESS_HEADER } from "../../src/channel/channel-object.ts";
import { IDENTITY_HEADER } from "../../src/channel/identity-header.ts";
import { Rate } from "../../src/shared/rate.ts";
import { Sockets } from "../../src/channel/sockets.ts";
import * as limits from "../../src/protocol/limits.ts";
import type { Frame } from "../support/frames.ts";
import {
  call,
  connect,
  history,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  publish,
  request,
  stubOf,
  type TestSocket,
  tokenOf,
} from "./support.ts";

afterEach(() => vi.restoreAllMocks());

const OPEN = { anonymous_clients: true, message_history: 100, public_messaging: { active: true } };
const put = (channel: string, settings: object) => call("PUT", `/channels/${encodeURIComponent(channel)}`, settings);
const post = (body: object, key?: string | null) => call("POST", "/message", body, key);

describe("settings for patterns (SET1)", () => {
  it("are searched from the channel upward", () => {
    expect(candidatesFor("a/b/c")).toEqual(["a/b/c", "a/b/*", "a/b", "a/*", "a", "*"]);
    expect(candidatesFor("a")).toEqual(["a", "*"]);
  });

  it("apply to all channels below, and the nearest settings replace the others as a whole", async () => {
    const root = `p${crypto.randomUUID()}`;
    await put(`${root}/*`, OPEN);
    await put(`${root}/quiet/*`, { anonymous_clients: true });
    await put(`${root}/quiet/loud`, OPEN);
    const status = async (channel: string) => (await post({ channel, message: 1 }, null)).status;
    expect(await status(`${root}/42`)).toBe(201);
    expect(await status(`${root}/a/b`)).toBe(201);
    expect(await status(`${root}/quiet/1`)).toBe(403);
    expect(await status(`${root}/quiet/loud`)).toBe(201);
    expect(await status(root)).toBe(401);
  });

  it("apply below a channel if its nested_channels is on", async () => {
    const root = `n${crypto.randomUUID()}`;
    await put(root, { ...OPEN, nested_channels: true });
    expect((await post({ channel: `${root}/42/x`, message: 1 }, null)).status).toBe(201);
    const plain = `n${crypto.randomUUID()}`;
    await put(plain, OPEN);
    expect((await post({ channel: `${plain}/42`, message: 1 }, null)).status).toBe(401);
  });

  it("reach connected sockets before the next message when they change", async () => {
    const root = `c${crypto.randomUUID()}`;
    await put(`${root}/*`, OPEN);
    const client = await join(`${root}/42`);
    await put(`${root}/*`, { ...OPEN, anonymous_clients: false });
    const later = Date.now() + 6_000;
    vi.spyOn(Date, "now").mockImplementation(() => later);
    await publish(`${root}/42`, "secret");
    expect((await client.frame()).payload).toMatchObject({ code: "unauthorized" });
    expect((await client.close()).code).toBe(4403);
  });

  it("apply again when the channel's own settings are removed", async () => {
    const root = `g${crypto.randomUUID()}`;
    await put(`${root}/*`, OPEN);
    await put(`${root}/1`, { active: false });
    expect((await post({ channel: `${root}/1`, message: 1 }, null)).status).toBe(403);
    await call("DELETE", `/channels/${encodeURIComponent(`${root}/1`)}`);
    expect((await post({ channel: `${root}/1`, message: 1 }, null)).status).toBe(201);
  });

  it("are listed in pages, each once", async () => {
    const names = Array.from({ length: 5 }, (_, n) => `list/${crypto.randomUUID()}/${n}`).toSorted();
    for (const name of names) await put(name, {});
    const seen: string[] = [];
    for (let next: string | null = "/channels?limit=2&after=list"; next;) {
      const page: { channels: { channel: string }[]; next: string | null } = await (await call("GET", next)).json();
      expect(page.channels.length).toBeLessThanOrEqual(2);
      seen.push(...page.channels.map(({ channel }) => channel));
      next = page.next;
    }
    expect(seen).toEqual(seen.toSorted());
    expect(seen.filter((name) => names.includes(name))).toEqual(names);
    expect((await call("GET", "/channels", undefined, null)).status).toBe(401);
  });
});

describe("an event for a database's users (EVT)", () => {
  it("reaches only that database's users: live, in history, and on resume (EVT1, EVT3)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const token = await tokenOf(database, 42);
    const [user, anonymousClient] = [await join(channel, {}, {}, token), await join(channel)];
    await publish(channel, "one, for all");
    expect((await post({ channel, message: "two, for users", database })).status).toBe(201);
    await publish(channel, "three, for all");
    const all = ["one, for all", "two, for users", "three, for all"];
    const some = [all[0], all[2]];
    expect((await user.frames(3)).map(({ payload }) => payload)).toEqual(all);
    expect((await anonymousClient.frames(2)).map(({ payload }) => payload)).toEqual(some);

    for (const [key, expected] of [
      [token, all],
      [undefined, all],
      [null, some],
    ] as const) {
      const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/messages`, undefined, key);
      const { messages } = await answer.json<{ messages: { payload: string }[] }>();
      expect(messages.map(({ payload }) => payload)).toEqual(expected);
    }
    for (const [who, expected] of [
      [token, all],
      [undefined, some],
    ] as const) {
      const reader = await join(channel, {}, { history: true }, who);
      expect((await reader.frame()).payload.map(({ payload }: { payload: string }) => payload)).toEqual(expected);
      const resuming = await connect(channel, who === undefined ? {} : { "Sec-WebSocket-Protocol": who });
      resuming.send({ action: "join", options: { after: 0 } });
      expect((await resuming.frame()).options).toMatchObject({ resumed: true, replayed: expected.length });
      expect((await resuming.frames(expected.length)).map(({ payload }) => payload)).toEqual(expected);
    }
  });

  it("stays hidden from anonymous clients once only the archive holds it", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    await post({ channel, message: "for users", database });
    await publish(channel, "for all");
    await vi.waitUntil(
      async () => {
        const rows = await env.DB.prepare("SELECT database FROM messages WHERE channel = ?").bind(channel).all();
        return rows.results.length === 2;
      },
      { timeout: 30_000, interval: 50 },
    );
    await runInDurableObject(stubOf(channel), (_, { storage }) => storage.deleteAll());
    await evictDurableObject(stubOf(channel));
    const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/messages`, undefined, null);
    expect(await answer.json()).toMatchObject({ seq: 2, messages: [{ payload: "for all" }] });
  });

  it("does not end paging if a whole page is hidden (HIS4)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    await publish(channel, "first");
    for (let n = 0; n < 5; n++) await post({ channel, message: n, database });
    await publish(channel, "last");
    const seen: string[] = [];
    for (let next: string | null = `/channels/${encodeURIComponent(channel)}/messages?limit=2`; next;) {
      const answer: Response = await call("GET", next, undefined, null);
      const page = await answer.json<{ messages: { payload: string }[]; next: string | null }>();
      seen.push(...page.messages.map(({ payload }) => payload));
      next = page.next;
    }
    expect(seen).toEqual(["last", "first"]);
  });

  it("gets a 403 if the database is not the channel's (EVT2)", async () => {
    const [mine, other] = [await newDatabase(), await newDatabase()];
    for (const channel of [await newOpenChannel({ database: mine }), await newOpenChannel(), newChannel()]) {
      const answer = await post({ channel, message: 1, database: other });
      expect([answer.status, await answer.json()]).toMatchObject([403, { field: "database" }]);
      expect((await history(channel)).seq).toBe(0);
    }
  });

  it("may be published by the database's users, but not by anonymous clients", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    expect((await post({ channel, message: 1, database }, await tokenOf(database, 1))).status).toBe(201);
    expect((await post({ channel, message: 1, database }, null)).status).toBe(401);
  });

  it("can name its sender, who becomes its client (EVT4)", async () => {
    const database = await newDatabase({ dbo_id: 99_000_001 });
    const channel = await newOpenChannel({ database });
    const subscriber = await join(channel);
    await post({ channel, message: 1, sender: { database, id: 7 } });
    expect((await subscriber.frame()).client).toEqual({
      socketId: "",
      permissions: { dbo_id: 99_000_001, row_id: 7 },
      extras: {},
    });
    expect((await post({ channel, message: 1, sender: { database, id: 7 } }, null)).status).toBe(403);
    const unknown = await post({ channel, message: 1, sender: { database: "nowhere", id: 7 } });
    expect([unknown.status, await unknown.json()]).toMatchObject([400, { field: "sender.database" }]);
    expect((await post({ channel, message: 1, sender: { database, id: 0 } })).status).toBe(400);
  });
});

describe("a client's message", () => {
  it("is hidden from other clients, live and in history, if it is for authenticated clients only (FRA4)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const [user, anonymousClient] = [await join(channel, {}, {}, await tokenOf(database, 1)), await join(channel)];
    user.send({ action: "message", options: { authenticated: true }, payload: "among us" });
    user.send({ action: "message", payload: "to all" });
    expect((await user.frames(2)).map(({ payload }) => payload)).toEqual(["among us", "to all"]);
    expect((await anonymousClient.frame()).payload).toBe("to all");
    anonymousClient.send({ action: "history" });
    expect((await anonymousClient.frame()).payload).toMatchObject([{ payload: "to all" }]);
    anonymousClient.send({ action: "message", options: { authenticated: true }, payload: "me too" });
    expect((await anonymousClient.frame()).payload).toMatchObject({ code: "unauthorized" });
  });

  it("is refused on a channel without an auth database if it is for authenticated clients only (FRA4)", async () => {
    const channel = await newOpenChannel();
    const server = await connect(channel, { Authorization: "Bearer first-key-of-the-tests" });
    for (let again = 0; again < 2; again++) {
      server.send({ action: "message", options: { authenticated: true }, payload: "for members" });
      expect((await server.frame()).payload).toMatchObject({ code: "forbidden", field: "options.authenticated" });
    }
    expect((await history(channel)).messages).toEqual([]);
  });

  it("reaches only its recipient, names its sender, and is not stored if it is private (FRA5)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, private_messaging: { active: true } });
    const sender = await join(channel, {}, {}, await tokenOf(database, 1));
    const [recipient, other] = [await join(channel), await join(channel)];
    const { socketId } = recipient.client;
    await evictDurableObject(stubOf(channel));
    sender.send({ action: "message", options: { socketId }, payload: { psst: 1 } });
    expect(await recipient.frame()).toEqual({
      action: "message",
      client: sender.client,
      options: { channel, socketId },
      payload: { psst: 1 },
    });
    await publish(channel, "next");
    for (const socket of [sender, other]) expect((await socket.frame()).payload).toBe("next");
    expect((await history(channel)).seq).toBe(1);
  });

  it("gets an error if its recipient has not joined (FRA5)", async () => {
    const channel = await newOpenChannel({ private_messaging: { active: true } });
    const [sender, gone] = [await join(channel), await join(channel)];
    gone.send({ action: "leave" });
    await gone.frame();
    for (const socketId of ["nobody", gone.client.socketId]) {
      sender.send({ action: "message", options: { socketId }, payload: 1 });
      expect((await sender.frame()).payload).toMatchObject({ code: "unknown-recipient", field: "options.socketId" });
    }
  });

  it("gets the same error if its recipient may not receive messages", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, auth_channel: true, private_messaging: { active: true } });
    const [user, anonymousClient] = [await join(channel, {}, {}, await tokenOf(database, 1)), await join(channel)];
    user.send({ action: "message", options: { socketId: anonymousClient.client.socketId }, payload: 1 });
    expect((await user.frame()).payload).toMatchObject({ code: "unknown-recipient" });
  });
});

describe("a channel for authenticated receivers", () => {
  it("lets anonymous clients send, but shows them no other messages, history or presence (AUT2)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, auth_channel: true, presence: true });
    const user = await join(channel, {}, {}, await tokenOf(database, 1));
    const anonymousClient = await connect(channel);
    anonymousClient.send({ action: "join", options: { after: 0 }, payload: { history: true, presence: true } });
    expect((await anonymousClient.frame()).payload).toEqual({ history: false, presence: false });
    anonymousClient.send({ action: "message", payload: "into the dark" });
    expect((await user.frame()).payload).toBe("into the dark");
    expect((await anonymousClient.frame()).payload).toBe("into the dark");
    user.send({ action: "message", payload: "for users" });
    expect((await user.frame()).payload).toBe("for users");
    anonymousClient.send({ action: "history" });
    expect((await anonymousClient.frame()).payload).toMatchObject({ code: "unauthorized" });
    for (const resource of ["messages", "presence"]) {
      const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/${resource}`, undefined, null);
      expect(answer.status).toBe(401);
    }
    await put(channel, { ...OPEN, database });
    await publish(channel, "now for all");
    expect((await anonymousClient.frame()).payload).toBe("now for all");
  });
});

describe("a sender's own message (FRA2)", () => {
  it.each(["single", "batch"])(
    "reaches the sender once and in order, even if it receives no other messages: %s",
    async (frames) => {
      const database = await newDatabase();
      const channel = await newOpenChannel({ database, auth_channel: true });
      const query = `?frames=${frames}`;
      const user = await connect(channel, { "Sec-WebSocket-Protocol": await tokenOf(database, 1) }, query);
      const anonymous = await connect(channel, {}, query);
      const other = await connect(channel, {}, query);
      const nextOf = async (socket: TestSocket) => {
        const text = JSON.parse(await socket.text()) as Frame | Frame[];
        return [text].flat();
      };
      for (const socket of [user, anonymous, other]) {
        socket.send({ action: "join" });
        expect(await nextOf(socket)).toMatchObject([{ action: "join" }]);
      }
      for (const payload of ["one", "two", "three"]) {
        for (const socket of [anonymous, user]) socket.send({ action: "message", payload });
      }
      const ends = { action: "leave" };
      const seen = async (socket: TestSocket) => {
        socket.send(ends);
        const all: Frame[] = [];
        while (all.at(-1)?.action !== "leave") all.push(...(await nextOf(socket)));
        return all.slice(0, -1);
      };
      const sent = (await seen(anonymous)).map(({ options, payload }) => [options.seq, payload as unknown]);
      const received = (await seen(user)).map(({ options, payload }) => [options.seq, payload as unknown]);
      expect(received.map(([seq]) => seq)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(sent.map(([, payload]) => payload)).toEqual(["one", "two", "three"]);
      for (const own of sent) expect(received).toContainEqual(own);
      expect(await seen(other)).toEqual([]);
    },
  );

  it("does not reach a sender that has not joined, and reaches one that has after hibernation", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database, auth_channel: true });
    const [joined, absent] = [await join(channel), await connect(channel)];
    absent.send({ action: "message", payload: "unseen" });
    absent.send({ action: "leave" });
    expect((await absent.frame()).action).toBe("leave");
    await evictDurableObject(stubOf(channel));
    joined.send({ action: "message", payload: "seen" });
    expect(await joined.frame()).toMatchObject({
      action: "message",
      client: joined.client,
      options: { channel, seq: 2 },
      payload: "seen",
    });
  });
});

describe("a client that may not receive a message", () => {
  it("does not become slow because of it (CON7)", async () => {
    const database = await newDatabase();
    const hidden = await newOpenChannel({ database, auth_channel: true });
    const mixed = await newOpenChannel({ database });
    const anonymousClients = [await join(hidden), await join(mixed)];
    const text = JSON.stringify("x".repeat(60_000));
    const count = Math.ceil(MAX_UNCONFIRMED_CHARACTERS / text.length) + 10;
    const flood = (channel: string, to: string | null) => {
      const messages = Array.from({ length: count }, () => ({ payload: text, client: null, database: to, type: null }));
      return stubOf(channel).publish([{ who: { kind: "server" }, messages }]);
    };
    await Promise.all([flood(hidden, null), flood(mixed, database)]);
    for (const anonymousClient of anonymousClients) {
      anonymousClient.send({ action: "leave" });
      expect((await anonymousClient.frame()).action).toBe("leave");
    }
  });
});

describe("a list", () => {
  it.each([1, 2, 3, 4, 5])("has each name once in pages of %i, and no next page after the last name", async (limit) => {
    const prefix = `zz-${crypto.randomUUID()}`;
    const names = ["a", "b", "c", "d"].map((name) => `${prefix}/${name}`);
    for (const name of names) await put(name, OPEN);
    const pages: string[][] = [];
    for (let next: string | null = `/channels?limit=${limit}&after=${prefix}`; next;) {
      const page: { channels: { channel: string }[]; next: string | null } = await (await call("GET", next)).json();
      pages.push(page.channels.map(({ channel }) => channel));
      next = page.next;
    }
    expect(pages.flat().filter((name) => name.startsWith(prefix))).toEqual(names);
    expect(pages.every((page) => page.length > 0 && page.length <= limit)).toBe(true);
    for (const name of names) await call("DELETE", `/channels/${encodeURIComponent(name)}`);
  });
});

describe("the limits", () => {
  it.each<[string, number[]]>([
    ["CHA1", [limits.MAX_CHANNEL_NAME_CHARACTERS]],
    ["PUB6", [limits.MAX_BATCH_MESSAGES, limits.MAX_BATCH_CHANNELS]],
    ["IDM1", [limits.MAX_IDEMPOTENCY_KEY_CHARACTERS]],
    ["HIS2", [limits.MAX_PAGE_SIZE, limits.DEFAULT_PAGE_SIZE]],
    ["HIS5", [limits.MAX_PAGE_CHARACTERS / 1024 / 1024]],
    ["HIS6", [limits.MAX_SEARCH_CHARACTERS]],
    ["RES2", [limits.MAX_REPLAY_MESSAGES, limits.MAX_PAGE_CHARACTERS / 1024 / 1024]],
    ["PRE5", [limits.MAX_LISTED_MEMBERS]],
    ["PRE6", [limits.PRESENCE_JOINS_AT_ONCE, limits.PRESENCE_JOINS_PER_SECOND]],
    ["LIM1", [limits.MAX_BODY_BYTES, limits.MAX_BATCH_BYTES]],
    ["LIM2", [limits.MAX_JSON_DEPTH]],
    ["LIM4", [limits.LOG_CAPACITY]],
    ["LIM5", [limits.MAX_SOCKETS]],
    ["LIM6", [limits.FRAMES_AT_ONCE, limits.FRAMES_PER_SECOND, limits.REFUSED_FRAMES_AT_ONCE]],
    ["LIM6", [limits.REFUSED_FRAMES_PER_SECOND, 1 / limits.FLOODS_PER_SECOND]],
    ["LIM8", [limits.MAX_SOCKETS_PER_USER, limits.MAX_SOCKETS_PER_ADDRESS]],
    ["LIM10", [limits.MAX_CHANNELS_PER_SOCKET]],
    ["LIM12", [limits.SENDER_MESSAGES_AT_ONCE, limits.SENDER_MESSAGES_PER_SECOND]],
    ["LIM12", [limits.SENDER_BYTES_AT_ONCE, limits.SENDER_BYTES_PER_SECOND]],
    ["LIM12", [limits.ADDRESS_MESSAGES_AT_ONCE, limits.ADDRESS_MESSAGES_PER_SECOND]],
    ["LIM12", [limits.ADDRESS_BYTES_AT_ONCE, limits.ADDRESS_BYTES_PER_SECOND]],
    ["LIM13", [limits.HISTORIES_AT_ONCE, limits.HISTORIES_PER_SECOND]],
    ["AUT6", [limits.MAX_TOKEN_CHARACTERS, limits.MAX_EXTRAS_BYTES]],
  ])("match PROTOCOL.md: %s", (rule, values) => {
    const text = protocol.split(/^- \*\*/m).find((part) => part.startsWith(`${rule}**`)) ?? "";
    const numbers = text.slice(rule.length).match(/\d[\d,]*/g) ?? [];
    expect(numbers.map((number) => Number(number.replaceAll(",", "")))).toEqual(expect.arrayContaining(values));
  });
});

describe("limits for anonymous clients", () => {
  it("on frames: a number at once, then a number per second (LIM6)", async () => {
    const channel = await newOpenChannel();
    // The clock stands still before the first frame, so that no part of a second fills the bucket again.
    let now = Date.now();
    vi.spyOn(Date, "now").mockImplementation(() => now);
    const [eager, calm] = [await join(channel), await join(channel)];
    const actionsOf = async (count: number) => {
      for (let n = 0; n < count; n++) eager.send({ action: "leave" });
      const answers = await eager.frames(count);
      return answers.map(({ action, payload }) =>
        payload === null ? action : `${payload.code} ${payload.retryAfter}`,
      );
    };
    const leaves = (count: number) => Array.from({ length: count }, () => "leave");
    // The join was the first frame.
    expect(await actionsOf(limits.FRAMES_AT_ONCE)).toEqual([...leaves(limits.FRAMES_AT_ONCE - 1), "rate-limited 1"]);
    for (let second = 1; second <= 3; second++) {
      now += 1_000;
      expect(await actionsOf(limits.FRAMES_PER_SECOND + 1)).toEqual([
        ...leaves(limits.FRAMES_PER_SECOND),
        "rate-limited 1",
      ]);
    }
    calm.send({ action: "leave" });
    expect((await calm.frame()).action).toBe("leave");
  });

  it("on frames: the bucket refills", () => {
    const rate = new Rate(10, 2, 0);
    expect([rate.take(0), rate.take(0), rate.take(0)]).toEqual([0, 0, 1]);
    expect([rate.take(100), rate.take(100)]).toEqual([0, 1]);
    expect([rate.take(10_000), rate.take(10_000), rate.take(10_000)]).toEqual([0, 0, 1]);
  });

  it("on frames: the wait is the missing time, and a clock that steps back neither fills nor blocks the bucket", () => {
    const slow = new Rate(0.1, 1, 0);
    expect([slow.take(0), slow.take(0), slow.take(5_000)]).toEqual([0, 10, 5]);
    expect([slow.take(10_000), slow.take(10_000), slow.take(15_000), slow.take(20_000)]).toEqual([0, 10, 5, 0]);
    const stepped = new Rate(10, 2, 60_000);
    expect([stepped.take(60_000), stepped.take(0), stepped.take(0)]).toEqual([0, 0, 1]);
    expect([stepped.take(100), stepped.take(100), stepped.take(200)]).toEqual([0, 1, 0]);
  });

  it("on requests from one address: 429 with Retry-After, but no limit for API-key clients (LIM7)", async () => {
    const channel = await newOpenChannel();
    const path = `/channels/${encodeURIComponent(channel)}/messages`;
    const key = crypto.randomUUID();
    // A period of the limit may end in between; the next one is used up as well.
    const refused = await vi.waitUntil(
      async () => {
        await Promise.all(Array.from({ length: 500 }, () => env.RATE_LIMITER.limit({ key })));
        const answer = await request(path, { headers: { "CF-Connecting-IP": key } });
        return answer.status === 429 && answer;
      },
      { timeout: 30_000 },
    );
    expect(refused.headers.get("Retry-After")).toBe("10");
    expect((await call("GET", path)).status).toBe(200);
    expect((await call("GET", path, undefined, null)).status).toBe(200);
  });

  it("on sockets of one user, and of one address (LIM8)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const token = await tokenOf(database, 1);
    for (let n = 0; n < limits.MAX_SOCKETS_PER_USER; n++) await join(channel, {}, {}, token);
    await expect(join(channel, {}, {}, token)).rejects.toThrow(/^503 .*too-many-sockets.*A user may have/);
    await join(channel, {}, {}, await tokenOf(database, 2));
    expect(limits.MAX_SOCKETS_PER_ADDRESS).toBeGreaterThan(limits.MAX_SOCKETS_PER_USER);
  });

  it("on sockets of one user: each closed socket makes room for one more, repeatedly (LIM8)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const token = await tokenOf(database, 1);
    const sockets = await Promise.all(
      Array.from({ length: limits.MAX_SOCKETS_PER_USER }, () => join(channel, {}, {}, token)),
    );
    for (const socket of sockets.slice(0, 3)) {
      await expect(connect(channel, { "Sec-WebSocket-Protocol": token })).rejects.toThrow(/too-many-sockets/);
      socket.socket.close();
      await socket.close();
      await join(channel, {}, {}, token);
    }
    await expect(connect(channel, { "Sec-WebSocket-Protocol": token })).rejects.toThrow(/too-many-sockets/);
  });

  it("on sockets of one address: each closed socket makes room for one more, repeatedly (LIM8)", async () => {
    const channel = await newOpenChannel();
    // The test calls the object directly, because the Worker limits the requests of one address (LIM7).
    const open = (address: string) =>
      stubOf(channel).fetch("https://channels.test", {
        headers: {
          Upgrade: "websocket",
          [IDENTITY_HEADER]: encodeURIComponent(JSON.stringify({ kind: "anonymous" })),
          [ADDRESS_HEADER]: address,
        },
      });
    const sockets: WebSocket[] = [];
    for (let n = 0; n < limits.MAX_SOCKETS_PER_ADDRESS; n++) {
      const { webSocket } = await open("192.0.2.1");
      webSocket?.accept();
      if (webSocket) sockets.push(webSocket);
    }
    expect(sockets).toHaveLength(limits.MAX_SOCKETS_PER_ADDRESS);
    for (const socket of sockets.slice(0, 3)) {
      const refused = await open("192.0.2.1");
      expect(await refused.json()).toMatchObject({ code: "too-many-sockets", limit: limits.MAX_SOCKETS_PER_ADDRESS });
      expect((await open("192.0.2.2")).status).toBe(101);
      const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
      socket.close();
      await closed;
      expect((await open("192.0.2.1")).status).toBe(101);
    }
    expect((await open("192.0.2.1")).status).toBe(403);
  });

  it("on a channel's sockets: a full channel still lets an API key in, up to a reserve (LIM5)", async () => {
    const channel = await newOpenChannel({ database: await newDatabase() });
    const key = { Authorization: "Bearer first-key-of-the-tests" };
    const spy = vi.spyOn(Sockets.prototype, "count");
    const countAs = (all: number) => spy.mockImplementation((group) => (group === undefined ? all : 0));
    countAs(limits.MAX_SOCKETS - 1);
    await join(channel);
    for (const all of [limits.MAX_SOCKETS, limits.MAX_SOCKETS + limits.RESERVED_SOCKETS - 1]) {
      countAs(all);
      await expect(join(channel)).rejects.toThrow(
        new RegExp(`^503 .*too-many-sockets.*"limit":${limits.MAX_SOCKETS},`),
      );
      for (let again = 0; again < 2; again++) {
        const socket = await connect(channel, key);
        socket.send({ action: "join" });
        expect((await socket.frame()).action).toBe("join");
      }
    }
    countAs(limits.MAX_SOCKETS + limits.RESERVED_SOCKETS);
    const limit = limits.MAX_SOCKETS + limits.RESERVED_SOCKETS;
    await expect(connect(channel, key)).rejects.toThrow(new RegExp(`^503 .*too-many-sockets.*"limit":${limit},`));
    expect(limit).toBeLessThan(32_768);
  });

  it("on the sockets of one address: an API key's are not counted with those of anonymous clients (LIM8)", async () => {
    const channel = await newOpenChannel();
    const address = { "CF-Connecting-IP": crypto.randomUUID() };
    await connect(channel, { ...address, Authorization: "Bearer first-key-of-the-tests" });
    await connect(channel, address);
    const counted = await runInDurableObject(stubOf(channel), (_, state) =>
      state.getWebSockets().map((socket) => state.getTags(socket).at(-1)),
    );
    expect(counted).toHaveLength(2);
    expect(new Set(counted).size).toBe(2);
  });

  it("on pages of other origins: every endpoint admits only allowed origins (LIM9)", async () => {
    const channel = await newOpenChannel();
    const path = `/channels/${encodeURIComponent(channel)}`;
    for (const Origin of ["https://evil.test", "null", "https://front.test.evil.test"]) {
      const upgrade = request(`${path}/socket`, { headers: { Upgrade: "websocket", Origin } });
      const read = request(`${path}/messages`, { headers: { Origin } });
      for (const answer of await Promise.all([upgrade, read])) {
        expect([answer.status, await answer.json()]).toMatchObject([403, { type: "/problems/wrong-origin" }]);
      }
    }
    for (const Origin of ["https://front.test", "https://other.test", "https://channels.test"]) {
      const socket = await connect(channel, { Origin });
      socket.socket.close();
      expect((await request(`${path}/messages`, { headers: { Origin } })).status).toBe(200);
    }
    const preflight = await request("/message", { method: "OPTIONS", headers: { Origin: "https://front.test" } });
    expect(preflight.headers.get("Access-Control-Allow-Origin")).toBe("https://front.test");
    expect(preflight.headers.get("Access-Control-Allow-Headers")).toContain("Idempotency-Key");
  });
});
