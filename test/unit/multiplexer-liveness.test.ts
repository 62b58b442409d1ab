import { afterEach, describe, expect, it, vi } from "vitest";
import { CHECK_INTERVAL_MS } from "../../src/http/multiplexer.ts";
import { connection } from "./multiplexer-support.ts";
import type { TestSocket } from "./support.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const join = (channel: string) => ({ action: "join", options: { channel } });

/** A connection that has joined a channel whose object the test plays. */
async function joined(parts: ReturnType<typeof connection>, channel: string, number: number): Promise<TestSocket> {
  parts.client.send(join(channel));
  const object = await parts.object(number);
  await object.frame();
  object.send({ action: "join", options: { channel, seq: 0 } });
  await parts.client.frame();
  return object;
}

/** A live message of this length, in characters of three bytes each. */
const event = (channel: string, seq: number, length: number) => ({
  action: "event",
  options: { channel, seq },
  payload: "€".repeat(length),
});

/** Puts the clock and the connection's timer into the test's hands. */
function holdClock(): void {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"], now: Date.now() });
}

describe("the timer of a connection", () => {
  it("is one for all of its channels, and ends with the connection", async () => {
    const set = vi.spyOn(globalThis, "setInterval");
    const cleared = vi.spyOn(globalThis, "clearInterval");
    const parts = connection();
    for (const [index, channel] of ["x", "y", "z"].entries()) await joined(parts, channel, index + 1);
    expect(set).toHaveBeenCalledTimes(1);
    parts.client.socket.close(1000);
    for (const number of [1, 2, 3]) await (await parts.object(number)).close();
    expect(cleared).toHaveBeenCalledWith(set.mock.results[0]?.value);
  });

  it("sends a heartbeat to each channel object; one that stays silent gets a new socket, each time", async () => {
    holdClock();
    const parts = connection();
    let object = await joined(parts, "x", 1);
    for (let number = 2; number <= 3; number++) {
      await vi.advanceTimersByTimeAsync(CHECK_INTERVAL_MS);
      expect(await object.text()).toBe("ping");
      object.send("pong");
      await pingArrived(parts.client);
      await vi.advanceTimersByTimeAsync(CHECK_INTERVAL_MS);
      expect(await object.text()).toBe("ping");
      // This one is not answered.
      await vi.advanceTimersByTimeAsync(CHECK_INTERVAL_MS);
      expect((await object.close()).code).toBe(1000);
      object = await parts.object(number);
      expect(await object.frame()).toMatchObject({ action: "join", options: { after: number - 2 } });
      const seq = number - 1;
      object.send({ action: "join", options: { channel: "x", seq, resumed: true, replayed: 1 } });
      object.send(event("x", seq, 1));
      expect((await parts.client.frame()).options.seq).toBe(seq);
    }
  });

  /** What the object sent before has been read when a heartbeat of the client has come back. */
  async function pingArrived(client: TestSocket): Promise<void> {
    client.send("ping");
    expect(await client.text()).toBe("pong");
  }
});
