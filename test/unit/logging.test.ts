import { runDurableObjectAlarm } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import {
  API_KEY,
  call,
  connect,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  publish,
  stubOf,
  whileAway,
} from "./support.ts";

/** In everything that a client sends in these tests, and nowhere else. */
const MARKER = "c0ntent-or-t0ken";

const METHODS = ["debug", "log", "info", "warn", "error"] as const;
let spies: MockInstance<(...data: unknown[]) => void>[];
beforeEach(() => {
  spies = METHODS.map((method) => vi.spyOn(console, method).mockImplementation(() => {}));
});
afterEach(() => vi.restoreAllMocks());

const logged = () => spies.flatMap((spy) => spy.mock.calls);

/** That this was logged, as one object, and nothing that a client sent. */
function expectLogged(message: string, more: object = {}): void {
  expect(logged()).toContainEqual([expect.objectContaining({ message, ...more, error: expect.any(String) })]);
  expect(JSON.stringify(logged())).not.toContain(MARKER);
}

describe("the log says what failed and where, and never what was said or shown", () => {
  it("where a backlog cannot be archived", async () => {
    const channel = await newOpenChannel();
    const client = await join(channel);
    client.send({ action: "message", payload: { [MARKER]: MARKER } });
    await client.frame();
    await publish(channel, MARKER);
    await whileAway("messages", () => runDurableObjectAlarm(stubOf(channel)));
    expectLogged("archiving failed", { channel, failures: 1, backlog: 2 });
  });

  it("where a channel has to ask D1, and a stranger's message meanwhile", async () => {
    const channel = newChannel();
    const refused = await whileAway("messages", () => call("POST", "/message", { channel, message: MARKER }));
    expect(refused.status).toBe(503);
    expectLogged("D1 did not answer", { channel });
  });

  it("where a token cannot be verified, or settings cannot be read", async () => {
    const channel = await newOpenChannel({ database: await newDatabase({ secret: "AUTH_SECRET_SHORT" }) });
    expect((await call("POST", "/message", { channel, message: MARKER }, MARKER)).status).toBe(503);
    await expect(connect(channel, { "Sec-WebSocket-Protocol": MARKER })).rejects.toThrow(/^503/);
    expectLogged("token not verifiable");
    await whileAway("channels", () => call("POST", "/message", { channel: newChannel(), message: 1 }, MARKER));
    expectLogged("token not verifiable", { channel: expect.any(String) });
  });

  it.each([
    ["text that cannot be parsed", () => JSON.parse(MARKER) as never],
    [
      "a query with its parameters",
      () => raise(new Error(`Failed query: ${MARKER}`, { cause: new Error("D1_ERROR") })),
    ],
  ])("where the request fails on %s", async (_, fail) => {
    const publishing = async () => fail();
    const CHANNELS = { getByName: () => ({ publish: publishing, history: publishing }) };
    const headers = { Authorization: `Bearer ${API_KEY}`, "Content-Type": "application/json" };
    const body = JSON.stringify({ channel: "news", message: MARKER });
    await app.request(`/message?${MARKER}`, { method: "POST", headers, body }, { ...env, CHANNELS });
    expectLogged("request failed", { channel: "news" });
    await app.request(`/channels/news/messages`, { headers }, { ...env, CHANNELS });
    expectLogged("request failed", { method: "GET", route: "/channels/:channel/messages" });
  });

  it("and what is merely refused is not logged at all", async () => {
    const channel = await newOpenChannel({ database: await newDatabase() });
    expect((await call("POST", "/message", { channel, message: MARKER }, MARKER)).status).toBe(401);
    expect((await call("POST", "/message", { channel, [MARKER]: MARKER })).status).toBe(400);
    const client = await join(channel);
    client.send(`{"${MARKER}`);
    expect((await client.frame()).action).toBe("error");
    expect(logged()).toEqual([]);
  });
});

function raise(error: Error): never {
  throw error;
}
