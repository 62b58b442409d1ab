import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { HEARTBEAT_TIMEOUT_MS } from "../../src/channel/backpressure.ts";
import { MAX_LISTED_MEMBERS, PRESENCE_JOINS_AT_ONCE } from "../../src/protocol/limits.ts";
import { PresenceFeed } from "../../src/channel/presence-feed.ts";
import { API_KEY, call, connect, join, newDatabase, newOpenChannel, publish, stubOf, tokenOf } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

const WISH = { presence: true };
const newRoom = (settings: object = {}) => newOpenChannel({ presence: true, ...settings });

async function presence(channel: string, query = "", key?: string | null) {
  const answer = await call("GET", `/channels/${encodeURIComponent(channel)}/presence${query}`, undefined, key);
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json<{ total: number; presence: { socketId: string }[] }>();
}

describe("presence (PRE)", () => {
  it("lists the members on join, and then reports joins and leaves (PRE1, PRE2)", async () => {
    const channel = await newRoom();
    const one = await join(channel, {}, WISH);
    expect((await one.frame()).payload).toEqual({ presence: [one.client] });
    const two = await join(channel, {}, WISH);
    expect(await two.frame()).toMatchObject({
      action: "presence_full",
      options: { channel, total: 2 },
      payload: { presence: [one.client, two.client] },
    });
    expect(await one.frame()).toEqual({
      action: "presence_update",
      options: { channel },
      payload: { action: "join", presence: two.client },
    });
    two.send({ action: "leave" });
    expect((await one.frame()).payload).toEqual({ action: "leave", presence: two.client });
    two.send({ action: "join" });
    expect((await one.frame()).payload).toMatchObject({ action: "join" });
    two.socket.close(1000);
    expect((await one.frame()).payload).toEqual({ action: "leave", presence: two.client });
    expect(await presence(channel)).toEqual({ total: 1, presence: [one.client] });
  });

  it("is sent only to clients that asked for it, and also lists members that did not (PRE1)", async () => {
    const channel = await newRoom();
    const [curious, quiet] = [await join(channel, {}, WISH), await join(channel)];
    expect((await curious.frames(2)).map(({ action }) => action)).toEqual(["presence_full", "presence_update"]);
    await publish(channel, "next");
    expect((await quiet.frame()).payload).toBe("next");
    expect((await presence(channel)).total).toBe(2);
  });

  it("does not report a client again that leaves and joins at once (PRE2, PRE6)", async () => {
    const channel = await newRoom();
    const witness = await join(channel, {}, WISH);
    await witness.frame();
    const client = await connect(channel);
    const actions = ["join", "join", "leave", "leave", "join", "join"];
    for (const action of actions) client.send({ action });
    expect((await client.frames(actions.length)).map(({ action }) => action)).toEqual(actions);
    await publish(channel, "after all");
    const seen = await witness.frames(2);
    expect(seen.map(({ payload }) => payload.action ?? payload)).toEqual(["join", "after all"]);
  });

  it("is sent only if the channel has it", async () => {
    const channel = await newOpenChannel();
    const socket = await connect(channel);
    socket.send({ action: "join", payload: WISH });
    expect((await socket.frame()).payload).toEqual({ history: false, presence: false });
    await expect(presence(channel, "", null)).rejects.toThrow("403");
    await publish(channel, "next");
    expect((await socket.frame()).payload).toBe("next");
  });

  it("ends for all clients when changed settings turn it off", async () => {
    const channel = await newRoom();
    const witness = await join(channel, {}, WISH);
    await witness.frame();
    const settings = { anonymous_clients: true };
    await call("PUT", `/channels/${encodeURIComponent(channel)}`, settings);
    await join(channel);
    await publish(channel, "next");
    expect((await witness.frame()).payload).toBe("next");
  });

  it("identifies users by their token, and anonymous clients by zeros (PRE3)", async () => {
    const database = await newDatabase();
    const channel = await newRoom({ database });
    await join(channel, {}, WISH, await tokenOf(database, 42, { extras: { name: "Carol" } }));
    await join(channel);
    const permissions = { dbo_id: expect.any(Number) as number, row_id: 42 };
    expect((await presence(channel)).presence).toMatchObject([
      { permissions, extras: { name: "Carol" } },
      { permissions: { dbo_id: 0, row_id: 0 }, extras: {} },
    ]);
  });

  it("does not include API-key clients", async () => {
    const channel = await newRoom();
    const client = await join(channel, {}, WISH);
    await client.frame();
    const server = await connect(channel, { Authorization: `Bearer ${API_KEY}` });
    server.send({ action: "join", payload: WISH });
    expect((await server.frames(2))[1]?.payload).toEqual({ presence: [client.client] });
    server.socket.close(1000);
    await server.close();
    await publish(channel, "next");
    expect((await client.frame()).payload).toBe("next");
  });

  it("is right after hibernation (PRE4)", async () => {
    const channel = await newRoom();
    const [one, two] = [await join(channel, {}, WISH), await join(channel)];
    await one.frames(2);
    await evictDurableObject(stubOf(channel));
    const { total, presence: members } = await presence(channel);
    expect(total).toBe(2);
    expect(members).toEqual(expect.arrayContaining([one.client, two.client]));
    two.socket.close(1000);
    expect((await one.frame()).payload).toEqual({ action: "leave", presence: two.client });
  });

  it("is right after an eviction that closed all sockets (PRE4)", async () => {
    const channel = await newRoom();
    const before = await join(channel);
    await evictDurableObject(stubOf(channel), { webSockets: "close" });
    await before.close();
    const after = await join(channel, {}, WISH);
    expect((await after.frame()).payload).toEqual({ presence: [after.client] });
  });

  it("forgets a client whose heartbeats stop (PRE4, CON7)", async () => {
    const channel = await newRoom();
    const [witness, vanished] = [await join(channel, {}, WISH), await join(channel)];
    await witness.frames(2);
    vanished.send("ping");
    await vanished.text();
    const later = Date.now() + HEARTBEAT_TIMEOUT_MS + 1_000;
    vi.spyOn(Date, "now").mockImplementation(() => later);
    await publish(channel, "somebody does something");
    vi.restoreAllMocks();
    const frames = await witness.frames(2);
    expect(frames.map(({ payload }) => payload)).toContainEqual({ action: "leave", presence: vanished.client });
    expect((await presence(channel)).total).toBe(1);
  });

  it("lists a limited number of members in one answer (PRE5)", async () => {
    const channel = await newRoom();
    await Promise.all(Array.from({ length: MAX_LISTED_MEMBERS + 5 }, () => join(channel)));
    const socket = await join(channel, {}, WISH);
    const full = await socket.frame();
    expect(full.options).toEqual({ channel, total: MAX_LISTED_MEMBERS + 6 });
    expect(full.payload.presence).toHaveLength(MAX_LISTED_MEMBERS);
    const listed = await presence(channel, "?limit=3");
    expect([listed.total, listed.presence.length]).toEqual([MAX_LISTED_MEMBERS + 6, 3]);
  });
});

describe("a client that vanishes without closing (PRE4)", () => {
  const alarmOf = (channel: string) => runInDurableObject(stubOf(channel), (_, { storage }) => storage.getAlarm());
  const at = (time: number) => vi.spyOn(Date, "now").mockReturnValue(time);

  /** A client that has sent a heartbeat, and will send no other. */
  async function joinAndVanish(channel: string): Promise<{ socketId: string }> {
    const socket = await join(channel);
    socket.send("ping");
    expect(await socket.text()).toBe("pong");
    return socket.client;
  }

  it("is found within 120 seconds while a message arrives every 31 seconds, each time", async () => {
    const channel = await newRoom();
    const watcher = await join(channel, {}, WISH);
    await watcher.frame();
    for (let round = 1; round <= 2; round++) {
      const vanished = await joinAndVanish(channel);
      expect((await watcher.frame()).payload).toMatchObject({ action: "join" });
      const began = Date.now();
      for (const seconds of [31, 62, 93]) {
        await evictDurableObject(stubOf(channel));
        at(began + seconds * 1_000);
        await publish(channel, seconds);
      }
      vi.restoreAllMocks();
      const frames = await watcher.frames(4);
      expect(frames.map(({ payload }) => payload)).toContainEqual({ action: "leave", presence: vanished });
    }
  });

  it.each(["hibernating", "awake"])("is found within 120 seconds in a silent channel, each time: %s", async (state) => {
    const channel = await newRoom();
    const watcher = await join(channel, {}, WISH);
    await watcher.frame();
    for (let round = 1; round <= 2; round++) {
      const vanished = await joinAndVanish(channel);
      expect((await watcher.frame()).payload).toMatchObject({ action: "join" });
      const began = Date.now();
      while ((await total(channel)) === 2) {
        if (state === "hibernating") await evictDurableObject(stubOf(channel));
        const due = (await alarmOf(channel)) ?? NaN;
        expect(due).toBeLessThan(began + 120_000);
        at(due + 1);
        await runDurableObjectAlarm(stubOf(channel));
        vi.restoreAllMocks();
      }
      expect((await watcher.frame()).payload).toEqual({ action: "leave", presence: vanished });
    }
  });

  it("is not listed after 120 seconds", async () => {
    const channel = await newRoom();
    await joinAndVanish(channel);
    const stays = await join(channel);
    at(Date.now() + 120_000);
    expect(await presence(channel)).toEqual({ total: 1, presence: [stays.client] });
  });

  it("causes no frame between a join and its answer (JOI2)", async () => {
    const channel = await newRoom();
    for (let round = 1; round <= 2; round++) {
      await joinAndVanish(channel);
      at(Date.now() + round * 120_000);
      const socket = await connect(channel);
      socket.send({ action: "join", payload: WISH });
      const [first, second] = await socket.frames(2);
      expect([first?.action, second?.action]).toEqual(["join", "presence_full"]);
      expect(second?.payload).toEqual({ presence: [first?.client] });
      socket.socket.close(1000);
      await socket.close();
      vi.restoreAllMocks();
    }
  });

  it("needs no alarm while no client watches presence", async () => {
    const channel = await newRoom();
    const [first, second] = [await join(channel), await join(channel)];
    expect(await alarmOf(channel)).toBeNull();
    for (const socket of [first, second]) socket.socket.close(1000);
    await vi.waitUntil(async () => (await presence(channel)).total === 0);
    await join(channel, {}, WISH);
    expect(await alarmOf(channel)).toBeNull();
  });

  /** How many sockets have joined, whether or not they are still there. */
  async function total(channel: string): Promise<number> {
    const state = await stubOf(channel).state([]);
    return state.ok ? state.value.joined : 0;
  }
});

describe("members that join and leave quickly (PRE6)", () => {
  const updatesOf = async (watcher: { frames: (count: number) => Promise<{ payload: unknown }[]> }, count: number) =>
    (await watcher.frames(count)).map(({ payload }) => {
      const { action, presence: member } = payload as { action: string; presence: { socketId: string } };
      return [action, member.socketId];
    });

  it.each(["single", "batch"])("cost a watcher the first change and the last state, by frames=%s", async (frames) => {
    const channel = await newRoom();
    const watcher = await connect(channel, {}, `?frames=${frames}`);
    watcher.send({ action: "join", payload: WISH });
    const hasty = await connect(channel);
    for (let times = 0; times < 20; times++) for (const action of ["join", "leave"]) hasty.send({ action });
    await hasty.frames(40);
    const id = JSON.parse(hasty.texts[0] ?? "") as { client: { socketId: string } };
    const framesOf = () => watcher.texts.flatMap((text) => JSON.parse(text) as { action: string; payload: unknown });
    const updates = () => framesOf().filter(({ action }) => action === "presence_update");
    await vi.waitUntil(() => updates().length >= 2, { timeout: 20_000 });
    expect(updates().map(({ payload }) => payload)).toMatchObject([
      { action: "join", presence: id.client },
      { action: "leave", presence: id.client },
    ]);
    // Nothing waits any more: the next member is all that follows.
    const next = await join(channel);
    await vi.waitUntil(() => updates().length >= 3, { timeout: 20_000 });
    expect(updates()[2]?.payload).toEqual({ action: "join", presence: next.client });
  });

  it("that leave and return cost nothing but the first change", async () => {
    const channel = await newRoom();
    const watcher = await join(channel, {}, WISH);
    await watcher.frame();
    const hasty = await connect(channel);
    const actions = ["join", "leave", "join", "leave", "join"];
    for (const action of actions) hasty.send({ action });
    await hasty.frames(actions.length);
    expect((await watcher.frame()).payload.action).toBe("join");
    hasty.send({ action: "message", payload: "here" });
    expect((await watcher.frame()).payload).toBe("here");
  });

  it("are in the list of a new watcher as they are, and no update contradicts it", async () => {
    const channel = await newRoom();
    const early = await join(channel, {}, WISH);
    await early.frame();
    const hasty = await join(channel);
    expect((await early.frame()).payload.action).toBe("join");
    // Its second change waits.
    hasty.send({ action: "leave" });
    await hasty.frame();
    const late = await join(channel, {}, WISH);
    expect((await late.frame()).payload).toEqual({ presence: [early.client, late.client] });
    expect(await updatesOf(early, 2)).toEqual([
      ["join", late.client.socketId],
      ["leave", hasty.client.socketId],
    ]);
    const next = await join(channel);
    expect(await updatesOf(late, 1)).toEqual([["join", next.client.socketId]]);
  });

  it("and change again after a new watcher has its list: it gets just that change", async () => {
    const channel = await newRoom();
    const early = await join(channel, {}, WISH);
    await early.frame();
    const hasty = await join(channel);
    hasty.send({ action: "leave" });
    await hasty.frame();
    const late = await join(channel, {}, WISH);
    await late.frame();
    hasty.send({ action: "join" });
    await hasty.frame();
    expect(await updatesOf(late, 1)).toEqual([["join", hasty.client.socketId]]);
    expect((await updatesOf(early, 2)).map(([action]) => action)).toEqual(["join", "join"]);
  });

  it("receive no updates about themselves", async () => {
    const channel = await newRoom();
    const watcher = await join(channel, {}, WISH);
    await watcher.frame();
    const hasty = await join(channel, {}, WISH);
    await hasty.frame();
    hasty.send({ action: "leave" });
    expect((await hasty.frame()).action).toBe("leave");
    expect(await updatesOf(watcher, 2)).toEqual([
      ["join", hasty.client.socketId],
      ["leave", hasty.client.socketId],
    ]);
    hasty.send({ action: "join", payload: WISH });
    await hasty.frames(2);
    expect(await updatesOf(watcher, 1)).toEqual([["join", hasty.client.socketId]]);
    const next = await join(channel);
    expect(await updatesOf(hasty, 1)).toEqual([["join", next.client.socketId]]);
  });

  it("are announced at once when more than 10,000 new watchers wait for them", () => {
    const announced: string[] = [];
    const feed = new PresenceFeed({
      isWatched: () => true,
      announce: (action, _, except) => void announced.push(`${action}, not to ${except.size}`),
      notify: () => {},
    });
    const member = { socketId: "hasty", permissions: { dbo_id: 0, row_id: 0 }, extras: {} };
    for (const change of [1, 2]) {
      feed.joined(member);
      feed.left(member);
      for (let count = 0; count < 10_000; count++) feed.watching(new WebSocketPair()[0]);
      expect(announced).toHaveLength(2 * change - 1);
      feed.watching(new WebSocketPair()[0]);
      expect(announced).toHaveLength(2 * change);
      if (change === 1) vi.spyOn(Date, "now").mockReturnValue(Date.now() + 1_000);
    }
    expect(announced).toEqual(["join, not to 0", "leave, not to 10001", "join, not to 0", "leave, not to 10001"]);
  });

  it("are not announced if there are many and they leave within the second", async () => {
    const now = Date.now();
    vi.spyOn(Date, "now").mockImplementation(() => now);
    const channel = await newRoom();
    const watcher = await join(channel, {}, WISH);
    await watcher.frame();
    for (let count = 0; count < PRESENCE_JOINS_AT_ONCE; count++) await join(channel);
    await watcher.frames(PRESENCE_JOINS_AT_ONCE);
    const [brief, stays] = [await join(channel), await join(channel)];
    brief.send({ action: "leave" });
    await brief.frame();
    expect(await updatesOf(watcher, 1)).toEqual([["join", stays.client.socketId]]);
  });
});
