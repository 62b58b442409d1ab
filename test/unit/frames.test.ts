import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { ChannelSettings } from "../../src/protocol/channel-settings.ts";
import type { Frame } from "../support/frames.ts";
import { call, connect, newOpenChannel, publish, request, stubOf, type TestSocket } from "./support.ts";

/** A socket that gets batches, and has joined. Answers the batch that the join brought, too. */
async function joinBatches(channel: string, options: object = {}, payload: object = {}) {
  const socket = await connect(channel, {}, "?frames=batch");
  socket.send({ action: "join", options, payload });
  return { socket, joined: await batch(socket) };
}

async function batch(socket: TestSocket): Promise<Frame[]> {
  const frames: unknown = JSON.parse(await socket.text());
  if (!Array.isArray(frames)) throw new Error(`no array: ${JSON.stringify(frames)}`);
  return frames as Frame[];
}

/** The frames of as many batches as it takes. */
async function framesOf(socket: TestSocket, count: number): Promise<Frame[][]> {
  const batches: Frame[][] = [];
  while (batches.flat().length < count) batches.push(await batch(socket));
  return batches;
}

describe("a socket that asked for batches (CON8)", () => {
  it("gets a single message at once, as an array of one", async () => {
    const channel = await newOpenChannel();
    const { socket, joined } = await joinBatches(channel);
    expect(joined.map(({ action }) => action)).toEqual(["join"]);
    const { seq } = await publish(channel, "one");
    expect(await batch(socket)).toMatchObject([{ action: "event", options: { seq }, payload: "one" }]);
  });

  it("gets the messages of a POST /messages as one array", async () => {
    const channel = await newOpenChannel();
    const { socket } = await joinBatches(channel);
    const messages = Array.from({ length: 100 }, (_, message) => ({ channel, message }));
    expect((await call("POST", "/messages", messages)).status).toBe(200);
    expect((await batch(socket)).map(({ payload }) => payload)).toEqual(messages.map(({ message }) => message));
  });

  it("gets simultaneous messages in fewer arrays, complete and in order (ORD2)", async () => {
    const channel = await newOpenChannel();
    const { socket } = await joinBatches(channel);
    await Promise.all(Array.from({ length: 200 }, (_, message) => publish(channel, message)));
    const batches = await framesOf(socket, 200);
    expect(batches.flat().map(({ options }) => options.seq)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
    expect(batches.length).toBeLessThan(200);
  });

  it("gets the answer to its join and all missed messages in one array (RES1)", async () => {
    const channel = await newOpenChannel({ presence: true });
    for (const message of ["one", "two", "three"]) await publish(channel, message);
    const { joined } = await joinBatches(channel, { after: 1 }, { presence: true });
    expect(joined.map(({ action }) => action)).toEqual(["join", "event", "event", "presence_full"]);
    expect(joined.slice(1, 3).map(({ payload }) => payload)).toEqual(["two", "three"]);
  });

  it("still gets batches after the object was evicted (CON4)", async () => {
    const channel = await newOpenChannel();
    const { socket } = await joinBatches(channel);
    await evictDurableObject(stubOf(channel));
    await publish(channel, "awake");
    expect(await batch(socket)).toMatchObject([{ payload: "awake" }]);
  });

  it("gets errors in arrays, too, but heartbeat answers as plain text (CON3)", async () => {
    const { socket } = await joinBatches(await newOpenChannel());
    socket.send("nonsense");
    socket.send("ping");
    // The runtime itself answers the heartbeat, and may be first.
    const texts = [await socket.text(), await socket.text()].toSorted();
    expect(texts[0]).toMatch(/^\[\{"action":"error".*"invalid-json".*\]$/);
    expect(texts[1]).toBe("pong");
  });

  it("gets waiting frames first, once and in order, when it joins again or its settings change", async () => {
    const open = { anonymous_clients: true, public_messaging: { active: true } };
    const channel = await newOpenChannel(open);
    const { socket } = await joinBatches(channel);
    // Frames that arrive during a commit are handled in one turn, so each still waits for its batch when the next follows.
    await runInDurableObject(stubOf(channel), async (object, state) => {
      const [server] = state.getWebSockets();
      const receive = async (frame: object) => {
        if (server) await object.webSocketMessage(server, JSON.stringify(frame));
      };
      for (const round of ["a", "b"]) {
        void receive({ action: "message", payload: `${round}1` });
        void receive({ action: "message", payload: `${round}2` });
        void receive({ action: "join", payload: { presence: true } });
        await receive({ action: "message", payload: `${round}3` });
        const settings = v.parse(ChannelSettings, { ...open, presence: round === "a" });
        object.configure({ channel, settings, authDatabase: null }, 0);
        void receive({ action: "message", payload: `${round}4` });
      }
    });
    socket.send({ action: "leave" });
    const frames: Frame[] = [];
    while (frames.at(-1)?.action !== "leave") frames.push(...(await batch(socket)));
    const seen = frames.map(({ action, payload }) => (action === "message" ? String(payload) : action));
    const expected = ["a1", "a2", "join", "a3", "a4", "b1", "b2", "join", "presence_full", "b3", "b4", "leave"];
    expect(seen).toEqual(expected);
  });

  it("gets all earlier messages before the answer to its leave (JOI5)", async () => {
    const channel = await newOpenChannel();
    const { socket } = await joinBatches(channel);
    socket.send({ action: "message", payload: "last words" });
    socket.send({ action: "leave" });
    const batches = await framesOf(socket, 2);
    expect(batches.flat().map(({ action }) => action)).toEqual(["message", "leave"]);
  });
});

it("the server refuses a value of frames other than single or batch (CON8)", async () => {
  const answer = await request(`/channels/marvel_chat_room/socket?frames=xml`, { headers: { Upgrade: "websocket" } });
  expect(answer.status).toBe(400);
  expect(await answer.json()).toMatchObject({ type: "/problems/invalid-field", field: "frames" });
});
