import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { API_KEY, newOpenChannel } from "../unit/support.ts";
import { ask, BY_API_KEY, open, opened, outcomeOf, pathOf } from "./support.ts";

/** The limits of PROTOCOL.md: frames at once and per second (LIM6), and requests per address and period (LIM7). */
const FRAMES_AT_ONCE = 100;
const FRAMES_PER_SECOND = 50;
const REQUESTS = 500;
/** How many frames too many a flood sends. */
const TOO_MANY = 20;

// The clock stands still, so that no part of a second lets more frames pass.
beforeEach(() => {
  const now = Date.now();
  vi.spyOn(Date, "now").mockImplementation(() => now);
});
afterEach(() => vi.restoreAllMocks());

/** Frames of each kind, those that are refused too. Each is answered by one frame, as long as there are not too many. */
const FRAMES: [name: string, frame: (channel: string) => string | ArrayBuffer][] = [
  ["joins", (channel) => JSON.stringify({ action: "join", options: { channel } })],
  ["messages", (channel) => JSON.stringify({ action: "message", options: { channel }, payload: 1 })],
  ["requests for history", (channel) => JSON.stringify({ action: "history", options: { channel } })],
  [
    "messages to nobody",
    (channel) => JSON.stringify({ action: "message", options: { channel, socketId: "x" }, payload: 1 }),
  ],
  [
    "messages that are refused",
    (channel) => JSON.stringify({ action: "message", options: { channel, authenticated: true }, payload: 1 }),
  ],
  ["frames that are no JSON", () => "{"],
  ["frames that are empty", () => ""],
  ["unknown actions", () => '{"action":"evil"}'],
  ["frames with another channel's name", () => '{"action":"leave","options":{"channel":"another"}}'],
  ["frames that are too large", () => `{"action":"message","payload":"${"x".repeat(70_000)}"}`],
  ["frames that are too deep", () => `{"action":"message","payload":${"[".repeat(70)}${"]".repeat(70)}}`],
  ["binary frames", () => new ArrayBuffer(8)],
];

describe.each([
  ["a channel's socket", (channel: string) => `${pathOf(channel)}/socket`],
  ["a multiplexed connection", () => "/rt/canonical"],
])("a flood over %s (LIM6)", (_, path) => {
  it.each(FRAMES)(
    "of %s: the first one too many is answered with rate-limited, and none is taken",
    async (_name, frame) => {
      const channel = await newOpenChannel({ presence: true, private_messaging: { active: true } });
      const [eager, calm] = [await opened(path(channel)), await opened(path(channel))];
      for (const socket of [eager, calm]) {
        socket.send({ action: "join", options: { channel } });
        await socket.frame();
      }
      // The join was the first frame.
      const allowed = FRAMES_AT_ONCE - 1;
      for (let n = 0; n < allowed + TOO_MANY; n++) eager.send(frame(channel));
      const answers = await eager.frames(allowed + 1);
      const limited = answers.filter(
        ({ payload }) => (payload as { limit?: number } | null)?.limit === FRAMES_PER_SECOND,
      );
      expect(limited).toMatchObject([{ action: "error", payload: { code: "rate-limited", retryAfter: 1 } }]);

      const isStored = answers.filter(({ action }) => action === "message").length;
      calm.send({ action: "message", options: { channel }, payload: "calm" });
      const expected = { payload: "calm", options: { seq: isStored + 1 } };
      expect((await calm.frames(isStored + 1)).at(-1)).toMatchObject(expected);
      // What the eager client receives next shows that nothing else was answered.
      expect(await eager.frame()).toMatchObject(expected);
      for (const socket of [eager, calm]) socket.socket.close();
    },
  );
});

describe("a flood of requests from one address (LIM7)", () => {
  const upgrade = { Upgrade: "websocket" };
  const json = { "Content-Type": "application/json" };
  const REQUESTED: [name: string, path: (channel: string) => string, init: (channel: string) => RequestInit][] = [
    ["GET messages", (channel) => `${pathOf(channel)}/messages`, () => ({})],
    ["GET presence", (channel) => `${pathOf(channel)}/presence`, () => ({})],
    ["a socket", (channel) => `${pathOf(channel)}/socket`, () => ({ headers: upgrade })],
    ["a multiplexed socket", () => "/rt/canonical", () => ({ headers: upgrade })],
    [
      "POST /message",
      () => "/message",
      (channel) => ({ method: "POST", headers: json, body: JSON.stringify({ channel, message: 1 }) }),
    ],
    ["a wrong API key", () => "/channels", () => ({ headers: { Authorization: `Bearer ${API_KEY}s` } })],
    ["a token", (channel) => `${pathOf(channel)}/messages`, () => ({ headers: { Authorization: "Bearer a.b.c" } })],
    ["GET /health", () => "/health", () => ({})],
  ];

  const address = `flood-${crypto.randomUUID()}`;
  it.each(REQUESTED)("%s is answered with 429, and with an API key it is not", async (_, path, init) => {
    const channel = await newOpenChannel({ presence: true });
    const send = (more: Record<string, string>) => {
      const { headers, ...rest } = init(channel);
      const all = { ...(headers as Record<string, string>), ...more };
      return ask(path(channel), { ...rest, headers: all }, address);
    };
    // The first test uses the limit up, and each one again if its period has ended.
    const useUp = () => Promise.all(Array.from({ length: REQUESTS }, () => env.STRANGERS.limit({ key: address })));
    const answer = await vi.waitUntil(
      async () => {
        const attempt = await send({});
        attempt.webSocket?.accept();
        attempt.webSocket?.close();
        return attempt.status === 429 ? attempt : void (await useUp());
      },
      { timeout: 30_000 },
    );
    expect(answer.headers.get("Retry-After")).toBe("10");
    expect(await outcomeOf(answer)).toBe("rate-limited");
    const byOperator = await send(BY_API_KEY);
    byOperator.webSocket?.accept();
    byOperator.webSocket?.close();
    expect(byOperator.status).toBeLessThan(300);
    expect(typeof (await open(`${pathOf(channel)}/socket`))).toBe("object");
  });
});
