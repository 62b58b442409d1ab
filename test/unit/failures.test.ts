import { env } from "cloudflare:workers";
import { describe, expect, it, vi, afterEach } from "vitest";
import { DeadlineError } from "../../src/shared/deadline.ts";
import { app } from "../../src/http/app.ts";
import { API_KEY, newChannel } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

/** A Worker whose channel objects all fail with an error. */
function where(failure: Error): (path: string, body: unknown) => Promise<Response> {
  const publish = () => Promise.reject(failure);
  const CHANNELS = { getByName: () => ({ publish }) };
  const headers = { Authorization: `Bearer ${API_KEY}`, "Content-Type": "application/json" };
  return async (path, body) =>
    app.request(path, { method: "POST", headers, body: JSON.stringify(body) }, { ...env, CHANNELS });
}

describe("an object that fails unexpectedly (SRV4)", () => {
  it.each([
    ["for a while", Object.assign(new Error("reset"), { retryable: true }), "unavailable", 503, "1"],
    ["as it has too much to do", Object.assign(new Error("overloaded"), { overloaded: true }), "unavailable", 503, "1"],
    ["by not answering in time", new DeadlineError("no answer within 30000 ms"), "unavailable", 503, "1"],
    ["for good", new TypeError("a mistake of ours"), "internal", 500, null],
    ["and says that it is for good", Object.assign(new Error("no"), { retryable: false }), "internal", 500, null],
  ])("returns the same error for a message alone and in a batch: %s", async (_, error, code, status, retryAfter) => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const post = where(error);
    const message = { channel: newChannel(), message: 1 };
    const single = await post("/message", message);
    expect(await single.json()).toMatchObject({ type: `/problems/${code}`, status });
    expect([single.status, single.headers.get("Retry-After")]).toEqual([status, retryAfter]);
    const { results } = await (await post("/messages", [message])).json<{ results: object[] }>();
    expect(results).toMatchObject([{ type: `/problems/${code}`, status, channel: message.channel }]);
  });
});
