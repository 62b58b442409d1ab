import { runInDurableObject } from "cloudflare:test";
import { beforeEach, describe, expect, it } from "vitest";
import { call, connectToMany, join, newDatabase, newOpenChannel, publish, stubOf, tokenOf } from "./support.ts";

let database: string;
let channel: string;
beforeEach(async () => {
  database = await newDatabase();
  channel = await newOpenChannel({ database, auth_channel: true, presence: true });
});

async function joinOver(headers: Record<string, string>, options: object = {}) {
  const socket = await connectToMany(headers);
  socket.send({ action: "join", options: { channel, ...options }, payload: { history: true, presence: true } });
  return { socket, answer: await socket.frame() };
}

describe("an anonymous client of a channel whose messages only users receive (JOI2)", () => {
  it.each([undefined, 0, 2, 3, 4, 1_000_000])("learns nothing of seq by a join after %s", async (after) => {
    const ask = async () => (await joinOver({}, after === undefined ? {} : { after })).answer;
    const before = await ask();
    for (let n = 1; n <= 3; n++) await publish(channel, n);
    const then = await ask();
    const expected = after === undefined ? { channel, seq: 0 } : { channel, seq: 0, resumed: true, replayed: 0 };
    for (const { action, options, payload } of [before, then]) {
      expect([action, options, payload]).toEqual(["join", expected, { history: false, presence: false }]);
    }
  });

  it("is refused everything else that tells it, and learns the seq of its own messages", async () => {
    await publish(channel, 1);
    const path = `/channels/${encodeURIComponent(channel)}`;
    for (const name of ["messages", "presence", "stats"]) {
      const answer = await call("GET", `${path}/${name}`, undefined, null);
      expect([answer.status, JSON.stringify(await answer.json()).includes("seq")]).toEqual([401, false]);
    }
    const socket = await join(channel);
    socket.send({ action: "history" });
    expect((await socket.frame()).payload).toMatchObject({ code: "unauthorized" });
    socket.send({ action: "message", payload: 2 });
    expect(await socket.frame()).toMatchObject({ action: "message", options: { seq: 2 } });
    expect(await (await call("POST", "/message", { channel, message: 3 }, null)).json()).toMatchObject({ seq: 3 });
  });

  it("stays connected over /rt/ when the channel's object is reset, and goes on (MUX3)", async () => {
    const { socket } = await joinOver({});
    socket.send({ action: "message", options: { channel }, payload: "mine" });
    expect(await socket.frame()).toMatchObject({ options: { seq: 1 }, payload: "mine" });
    await publish(channel, "for users only");
    await runInDurableObject(stubOf(channel), (_, state) => state.abort("on purpose")).catch(() => {});
    socket.send({ action: "message", options: { channel }, payload: "mine again" });
    expect(await socket.frame()).toMatchObject({ options: { seq: 3 }, payload: "mine again" });
  });
});

describe("a user of that channel", () => {
  it("is told where the channel stands, and resumes", async () => {
    for (let n = 1; n <= 3; n++) await publish(channel, n);
    const token = await tokenOf(database, 1);
    const { answer, socket } = await joinOver({ "Sec-WebSocket-Protocol": token }, { after: 2 });
    expect(answer).toMatchObject({ options: { seq: 3, resumed: true, replayed: 1 } });
    expect(await socket.frame()).toMatchObject({ options: { seq: 3 } });
  });
});
