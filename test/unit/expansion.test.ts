import { describe, expect, it } from "vitest";
import { MAX_BATCH_BYTES, MAX_BODY_BYTES } from "../../src/protocol/limits.ts";
import { call, connectToMany, history, join, newOpenChannel, publish, request, API_KEY } from "./support.ts";

/** JSON of a message that has a fifth of its size until it is written again. */
const growing = (bytes: number) => `[${Array.from({ length: Math.floor(bytes / 5) }, () => "1e20").join()}]`;
/** JSON of the longest message of this kind that is taken: with brackets and commas, 22 bytes for each number. */
const longest = `[${Array.from({ length: Math.floor((MAX_BODY_BYTES - 1) / 22) }, () => "1e20").join()}]`;

function post(path: string, body: string): Promise<Response> {
  const headers = { Authorization: `Bearer ${API_KEY}`, "Content-Type": "application/json" };
  return request(path, { method: "POST", headers, body });
}

describe("a message that is written longer than it was received (LIM1)", () => {
  it("is refused where it is published, and changes nothing", async () => {
    const channel = await newOpenChannel();
    const answer = await post("/message", `{"channel":"${channel}","message":${growing(60_000)}}`);
    expect([answer.status, await answer.json()]).toMatchObject([413, { field: "message", limit: MAX_BODY_BYTES }]);
    expect((await publish(channel, "next")).seq).toBe(1);
  });

  it("is taken up to the limit itself, and comes back as the same value", async () => {
    const channel = await newOpenChannel();
    expect((await post("/message", `{"channel":"${channel}","message":${longest}}`)).status).toBe(201);
    expect((await history(channel)).messages[0]?.payload).toEqual(JSON.parse(longest));
  });

  it("is refused in a batch, alone and all together", async () => {
    const channel = await newOpenChannel();
    const item = (json: string) => `{"channel":"${channel}","message":${json}}`;
    const one = await post("/messages", `[${item("1")},${item(growing(60_000))}]`);
    expect([one.status, await one.json()]).toMatchObject([413, { field: "1.message", limit: MAX_BODY_BYTES }]);
    const count = Math.ceil(MAX_BATCH_BYTES / 65_000);
    const all = await post("/messages", `[${Array.from({ length: count }, () => item(longest)).join()}]`);
    expect([all.status, await all.json()]).toMatchObject([413, { field: "body", limit: MAX_BATCH_BYTES }]);
    expect((await publish(channel, "next")).seq).toBe(1);
  });

  it("is refused over a socket, to all and to one, and over /rt/", async () => {
    const channel = await newOpenChannel({ private_messaging: { active: true } });
    const socket = await join(channel);
    const many = await connectToMany();
    many.send({ action: "join", options: { channel } });
    await many.frame();
    const refused = { action: "error", payload: { code: "too-large", field: "payload", limit: MAX_BODY_BYTES } };
    socket.send(`{"action":"message","payload":${growing(60_000)}}`);
    expect(await socket.frame()).toMatchObject(refused);
    const { socketId } = socket.client;
    socket.send(`{"action":"message","options":{"socketId":"${socketId}"},"payload":${growing(60_000)}}`);
    expect(await socket.frame()).toMatchObject(refused);
    many.send(`{"action":"message","options":{"channel":"${channel}"},"payload":${growing(60_000)}}`);
    expect(await many.frame()).toMatchObject(refused);
    socket.send(`{"action":"message","payload":${longest}}`);
    expect(await socket.frame()).toMatchObject({ action: "message", options: { seq: 1 } });
  });

  it.each([
    ["a lone surrogate", String.raw`"\ud800\ud800"`],
    ["control characters", String.raw`"\u0000\u001f\u007f\b\f\n\r\t"`],
    ["separators of lines", String.raw`"\u2028\u2029"`],
    ["a quote and a slash", String.raw`"\"\\\/"`],
    ["a small number", "[0.000001,1e-7,1E+2,-0]"],
  ])("is never text: %s is written no longer than it was received", async (_, json) => {
    const channel = await newOpenChannel();
    expect((await call("POST", "/message", { channel, message: JSON.parse(json) as unknown })).status).toBe(201);
    const written = JSON.stringify((await history(channel)).messages[0]?.payload);
    expect(new TextEncoder().encode(written).length).toBeLessThanOrEqual(json.length);
  });
});
