import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { app } from "../../src/http/app.ts";

let clock = Date.now();

beforeEach(() => {
  // Each test begins when no earlier answer holds any longer.
  clock += 60_000;
  vi.spyOn(Date, "now").mockImplementation(() => clock);
  vi.spyOn(console, "error").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

async function ask(DB: Pick<D1Database, "prepare"> = env.DB, more: object = {}): Promise<Response> {
  return app.request("/health", {}, { ...env, DB, ...more });
}

const askTwenty = (DB: Pick<D1Database, "prepare">) => Promise.all(Array.from({ length: 20 }, () => ask(DB)));

/** Returns a D1 that a test controls, which counts its requests. */
function database(answer: () => Promise<unknown>) {
  const run = vi.fn<() => Promise<unknown>>(answer);
  return { run, prepare: () => ({ run }) as unknown as D1PreparedStatement };
}

describe("GET /health (SRV1)", () => {
  it("returns 200 if the Worker runs and D1 answers, and reveals nothing else", async () => {
    const answer = await ask();
    expect([answer.status, await answer.json()]).toEqual([200, { status: "ok" }]);
    expect(answer.headers.get("Cache-Control")).toBe("no-store");
  });

  it("returns 503 with Retry-After if D1 fails, and 200 once D1 works again", async () => {
    const answer = await ask(database(() => Promise.reject(new Error("D1_ERROR: no such table: channels"))));
    expect([answer.status, await answer.json()]).toMatchObject([503, { type: "/problems/unavailable" }]);
    expect([answer.headers.get("Retry-After"), answer.headers.get("Cache-Control")]).toEqual(["1", "no-store"]);
    clock += 1_000;
    expect((await ask()).status).toBe(200);
  });

  it("waits no longer than two seconds for D1", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const hanging = database(() => new Promise(() => {}));
    const answer = ask(hanging);
    await vi.waitUntil(() => hanging.run.mock.calls.length > 0);
    await vi.advanceTimersByTimeAsync(2_000);
    expect((await answer).status).toBe(503);
  });

  it("asks D1 at most once per second for any number of requests", async () => {
    const well = database(() => Promise.resolve({}));
    await ask(well);
    clock += 999;
    for (const answer of await askTwenty(well)) expect(answer.status).toBe(200);
    expect(well.run).toHaveBeenCalledTimes(1);
    clock += 1;
    await askTwenty(well);
    expect(well.run).toHaveBeenCalledTimes(2);
  });

  it("returns the previous answer while it waits for D1", async () => {
    await ask();
    clock += 1_000;
    const asked = Promise.withResolvers<unknown>();
    const slow = database(() => asked.promise);
    const first = ask(slow);
    await vi.waitUntil(() => slow.run.mock.calls.length > 0);
    for (const answer of await askTwenty(slow)) expect(answer.status).toBe(200);
    expect(slow.run).toHaveBeenCalledTimes(1);
    asked.reject(new Error("D1_ERROR: on purpose"));
    expect((await first).status).toBe(503);
  });

  it("is limited per address, like every endpoint (LIM7)", async () => {
    const RATE_LIMITER = { limit: () => Promise.resolve({ success: false }) };
    expect((await ask(env.DB, { RATE_LIMITER })).status).toBe(429);
  });
});
