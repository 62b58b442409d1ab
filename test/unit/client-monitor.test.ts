import { describe, expect, it } from "vitest";
import { HEARTBEAT_TIMEOUT_MS, MAX_UNCONFIRMED_CHARACTERS } from "../../src/channel/backpressure.ts";
import { ClientMonitor, MAX_CATCH_UP_BYTES, PROBE_AFTER_BYTES } from "../../src/adapters/xano/client-monitor.ts";

const STARTED_AT = 1_000_000;
const PROBE_EVERY_BYTES = 1024 * 1024;

/** A connection that nothing was sent to. */
function monitored() {
  const monitor = new ClientMonitor(STARTED_AT);
  return { monitor, send: (bytes: number, isCatchUp = false) => monitor.sent("x".repeat(bytes), isCatchUp) };
}

describe("a connection is closed as slow (CON7)", () => {
  it("after more than 8 MiB without any heartbeat, and not before", () => {
    const { monitor, send } = monitored();
    send(MAX_UNCONFIRMED_CHARACTERS);
    expect(monitor.verdict(STARTED_AT)).toBe(undefined);
    send(1);
    expect(monitor.verdict(STARTED_AT)).toBe("slow");
  });

  it("with text counted in bytes of UTF-8", () => {
    const { monitor, send } = monitored();
    send(MAX_UNCONFIRMED_CHARACTERS - 3);
    monitor.sent("€");
    expect(monitor.verdict(STARTED_AT)).toBe(undefined);
    monitor.sent("é");
    expect(monitor.verdict(STARTED_AT)).toBe("slow");
  });

  it.each([1, 2, 3, 4, 5])("heartbeat %i confirms exactly what was sent before the previous one", (beats) => {
    const { monitor, send } = monitored();
    const amounts = Array.from({ length: beats }, (_, index) => 1_000 * 2 ** index);
    for (const amount of amounts) {
      send(amount);
      monitor.heartbeat();
    }
    send(MAX_UNCONFIRMED_CHARACTERS - amounts.at(-1)!);
    expect(monitor.verdict(STARTED_AT)).toBe(undefined);
    send(1);
    expect(monitor.verdict(STARTED_AT)).toBe("slow");
  });

  it("without the first 32 MiB of answers to joins; more of them counts like any text", () => {
    const { monitor, send } = monitored();
    for (let part = 0; part < 32; part++) send(MAX_CATCH_UP_BYTES / 32, true);
    send(MAX_UNCONFIRMED_CHARACTERS);
    expect(monitor.verdict(STARTED_AT)).toBe(undefined);
    send(1, true);
    expect(monitor.verdict(STARTED_AT)).toBe("slow");
  });

  it("an answer that does not fit into the allowance leaves it to those that do", () => {
    const { monitor, send } = monitored();
    send(MAX_CATCH_UP_BYTES - 10, true);
    send(11, true);
    send(10, true);
    send(MAX_UNCONFIRMED_CHARACTERS - 11);
    expect(monitor.verdict(STARTED_AT)).toBe(undefined);
    send(1);
    expect(monitor.verdict(STARTED_AT)).toBe("slow");
  });
});

describe("a connection is closed as gone (CON7)", () => {
  it("90 seconds after the last frame of any kind, if it has ever sent a heartbeat", () => {
    const { monitor } = monitored();
    monitor.heartbeat();
    expect(monitor.verdict(STARTED_AT + HEARTBEAT_TIMEOUT_MS)).toBe(undefined);
    expect(monitor.verdict(STARTED_AT + HEARTBEAT_TIMEOUT_MS + 1)).toBe("gone");
    monitor.received(STARTED_AT + HEARTBEAT_TIMEOUT_MS);
    expect(monitor.verdict(STARTED_AT + 2 * HEARTBEAT_TIMEOUT_MS)).toBe(undefined);
    expect(monitor.verdict(STARTED_AT + 2 * HEARTBEAT_TIMEOUT_MS + 1)).toBe("gone");
  });

  it("never, if it has sent no heartbeat", () => {
    const { monitor } = monitored();
    expect(monitor.verdict(STARTED_AT + 100 * HEARTBEAT_TIMEOUT_MS)).toBe(undefined);
  });
});

describe("a client that sends no heartbeats is asked to confirm (MUX7)", () => {
  it("when half of the bound is unconfirmed, and not before", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES - 1);
    expect(monitor.startProbe("a")).toBe(false);
    send(1);
    expect(monitor.startProbe("a")).toBe(true);
  });

  it("not if it sends heartbeats", () => {
    const { monitor, send } = monitored();
    monitor.heartbeat();
    send(PROBE_AFTER_BYTES);
    expect(monitor.startProbe("a")).toBe(false);
  });

  it("once per channel, and on another channel after 1 MiB more", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES);
    expect(monitor.startProbe("a")).toBe(true);
    send(PROBE_EVERY_BYTES - 1);
    expect(monitor.startProbe("b")).toBe(false);
    send(1);
    expect(monitor.startProbe("a")).toBe(false);
    expect(monitor.startProbe("b")).toBe(true);
    send(PROBE_EVERY_BYTES - 1);
    expect(monitor.startProbe("c")).toBe(false);
    send(1);
    expect(monitor.startProbe("c")).toBe(true);
  });

  it("and its answer confirms what was sent before the question", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES);
    monitor.startProbe("a");
    send(1_000);
    expect(monitor.endProbe("a")).toBe(true);
    send(MAX_UNCONFIRMED_CHARACTERS - 1_000);
    expect(monitor.verdict(STARTED_AT)).toBe(undefined);
    send(1);
    expect(monitor.verdict(STARTED_AT)).toBe("slow");
  });

  it("and asked again as soon as half of the bound is unconfirmed again", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES);
    monitor.startProbe("a");
    monitor.endProbe("a");
    send(PROBE_AFTER_BYTES - 1);
    expect(monitor.startProbe("a")).toBe(false);
    send(1);
    expect(monitor.startProbe("a")).toBe(true);
  });

  it("and a join that answers no question confirms nothing", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES);
    monitor.startProbe("a");
    expect(monitor.endProbe("b")).toBe(false);
    monitor.endProbe("a");
    expect(monitor.endProbe("a")).toBe(false);
  });

  it("and the answer to a later question answers the earlier ones, but no later one", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES);
    monitor.startProbe("a");
    send(PROBE_EVERY_BYTES);
    monitor.startProbe("b");
    send(PROBE_EVERY_BYTES);
    monitor.startProbe("c");
    expect(monitor.endProbe("b")).toBe(true);
    expect(monitor.endProbe("a")).toBe(false);
    expect(monitor.endProbe("c")).toBe(true);
  });

  it("not on a channel that it has left, so that another one is asked at once", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES);
    monitor.startProbe("a");
    monitor.dropProbe("a");
    expect(monitor.startProbe("b")).toBe(true);
    expect(monitor.endProbe("a")).toBe(false);
  });

  it("and a late answer takes nothing back that heartbeats confirmed since", () => {
    const { monitor, send } = monitored();
    send(PROBE_AFTER_BYTES);
    monitor.startProbe("a");
    send(1_000);
    monitor.heartbeat();
    monitor.heartbeat();
    monitor.endProbe("a");
    send(MAX_UNCONFIRMED_CHARACTERS);
    expect(monitor.verdict(STARTED_AT)).toBe(undefined);
    send(1);
    expect(monitor.verdict(STARTED_AT)).toBe("slow");
  });
});
