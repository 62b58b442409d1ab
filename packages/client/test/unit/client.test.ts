import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { NO_MEMBERS, updated } from "../../src/members.ts";
import { Connection } from "../../src/connection.ts";
import { Server } from "../../src/server.ts";
import { HeartbeatMonitor } from "../../src/heartbeat-monitor.ts";
import { CLOSE } from "../../../../src/protocol/close.ts";

const SECONDS = 1_000;

/** Returns a monitor that has started, and the functions that it calls. */
function newMonitor() {
  const deps = { send: vi.fn(() => true), silent: vi.fn(), works: vi.fn(), dead: vi.fn() };
  const monitor = new HeartbeatMonitor(deps);
  monitor.start();
  return { monitor, ...deps };
}

describe("the client's heartbeat monitor (CON7)", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("sends a heartbeat at least every 30 seconds, but only after the answer to the last one (CON3)", () => {
    const { monitor, send } = newMonitor();
    vi.advanceTimersByTime(30 * SECONDS);
    expect(send.mock.calls).toEqual([["ping"]]);
    expect(monitor.received("pong")).toBe(true);
    vi.advanceTimersByTime(30 * SECONDS);
    expect(send).toHaveBeenCalledTimes(2);
  });

  it("reconnects if it receives nothing at all", () => {
    const { dead } = newMonitor();
    vi.advanceTimersByTime(60 * SECONDS);
    expect(dead).toHaveBeenCalled();
  });

  it("waits for a late answer as long as it receives anything else", () => {
    const { monitor, dead } = newMonitor();
    for (let n = 0; n < 10; n++) {
      vi.advanceTimersByTime(15 * SECONDS);
      expect(monitor.received('{"action":"event"}')).toBe(false);
    }
    expect(dead).not.toHaveBeenCalled();
  });

  it("sends a heartbeat after each mebibyte received", () => {
    const { monitor, send } = newMonitor();
    monitor.received("x".repeat(1024 * 1024));
    expect(send).toHaveBeenCalledTimes(1);
  });

  it("sends nothing while there is no connection", () => {
    const { monitor, send } = newMonitor();
    monitor.stop();
    vi.advanceTimersByTime(90 * SECONDS);
    expect(send).not.toHaveBeenCalled();
  });
});

describe("the client's heartbeat monitor when the browser's network changes", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("reports silence a second after the network is lost, and death after three", () => {
    const { monitor, send, silent, dead } = newMonitor();
    monitor.networkLost();
    expect([send.mock.calls, monitor.isInDoubt]).toEqual([[["ping"]], true]);
    vi.advanceTimersByTime(999);
    expect(silent).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(silent).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(1_999);
    expect(dead).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(dead).toHaveBeenCalledTimes(1);
  });

  it("trusts a heartbeat answer more than the browser", () => {
    const { monitor, silent, works, dead } = newMonitor();
    monitor.networkLost();
    monitor.received("pong");
    expect([works.mock.calls.length, monitor.isInDoubt]).toEqual([1, false]);
    vi.advanceTimersByTime(10 * SECONDS);
    expect([silent, dead].map(({ mock }) => mock.calls.length)).toEqual([0, 0]);
  });

  it("does not accept the answer to an earlier heartbeat as proof", () => {
    const { monitor, send, works } = newMonitor();
    vi.advanceTimersByTime(20 * SECONDS);
    monitor.networkChanged();
    monitor.received("pong");
    expect([send.mock.calls.length, works.mock.calls.length]).toEqual([2, 0]);
    monitor.received("pong");
    expect(works).toHaveBeenCalledTimes(1);
  });

  it("allows one second for an answer once the network is back, even if the browser reports it repeatedly", () => {
    const { monitor, dead } = newMonitor();
    monitor.networkLost();
    vi.advanceTimersByTime(2_900);
    monitor.networkChanged();
    vi.advanceTimersByTime(900);
    monitor.networkChanged();
    expect(dead).not.toHaveBeenCalled();
    vi.advanceTimersByTime(100);
    expect(dead).toHaveBeenCalledTimes(1);
  });

  it("allows three seconds if the network was not lost, and reports no silence before", () => {
    const { monitor, send, silent, dead } = newMonitor();
    for (let n = 0; n < 29; n++) {
      monitor.networkChanged();
      vi.advanceTimersByTime(100);
    }
    expect([send, silent, dead].map(({ mock }) => mock.calls.length)).toEqual([1, 0, 0]);
    vi.advanceTimersByTime(100);
    expect([silent, dead].map(({ mock }) => mock.calls.length)).toEqual([0, 1]);
  });

  it("waits for an answer while other frames arrive", () => {
    const { monitor, silent, works, dead } = newMonitor();
    monitor.networkLost();
    for (let n = 0; n < 10; n++) {
      vi.advanceTimersByTime(900);
      monitor.received('{"action":"event"}');
    }
    expect(monitor.isInDoubt).toBe(true);
    monitor.received("pong");
    expect([silent, works, dead].map(({ mock }) => mock.calls.length)).toEqual([0, 1, 0]);
  });

  it("stops when the connection ends", () => {
    const { monitor, silent, dead } = newMonitor();
    monitor.networkLost();
    monitor.stop();
    vi.advanceTimersByTime(10 * SECONDS);
    expect([monitor.isInDoubt, silent.mock.calls.length, dead.mock.calls.length]).toEqual([false, 0, 0]);
  });
});

describe("a client whose connection is closed for sending too many frames (LIM6)", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("reconnects with longer and longer pauses", async () => {
    const opened = vi.fn();
    /** Each connection opens, and is closed by the server at once. */
    class ClosedForFlooding extends EventTarget {
      readyState = 0;
      constructor() {
        super();
        setTimeout(() => {
          this.readyState = 1;
          this.dispatchEvent(new Event("open"));
          this.readyState = 3;
          this.dispatchEvent(new CloseEvent("close", { code: CLOSE.flood }));
        });
      }
      close(): void {}
    }
    const connection = new Connection({
      server: new Server("https://channels.test", undefined),
      path: "/",
      WebSocket: ClosedForFlooding,
      opened,
      received: () => {},
      lost: () => {},
      silent: () => {},
      works: () => {},
    });
    await vi.advanceTimersByTimeAsync(5 * SECONDS);
    const soon = opened.mock.calls.length;
    await vi.advanceTimersByTimeAsync(115 * SECONDS);
    connection.close();
    expect(soon).toBeGreaterThan(1);
    expect(soon).toBeLessThanOrEqual(8);
    expect(opened.mock.calls.length).toBeGreaterThan(soon);
    expect(opened.mock.calls.length).toBeLessThanOrEqual(20);
  });
});

describe("the client's list of members (PRE2)", () => {
  const member = (socketId: string) => ({ socketId, permissions: { dbo_id: 0, row_id: 0 }, extras: {} });
  const update = (action: "join" | "leave" | "update", socketId: string, more: object = {}) =>
    ({
      action: "presence_update",
      options: { channel: "a" },
      payload: { action, presence: { ...member(socketId), ...more } },
    }) as const;

  it("follows joins and leaves, and lists no member twice", () => {
    const one = updated(NO_MEMBERS, update("join", "one"));
    const two = updated(one, update("join", "two"));
    expect(updated(two, update("join", "two"))).toMatchObject({ members: [member("one"), member("two")], total: 2 });
    expect(updated(two, update("leave", "one"))).toMatchObject({ members: [member("two")], total: 1 });
    expect(one.members).toEqual([member("one")]);
  });

  it("shows a member's new state at the member's place, and adds no member that is not listed", () => {
    const two = updated(updated(NO_MEMBERS, update("join", "one")), update("join", "two"));
    const changed = updated(two, update("update", "one", { state: { typing: true } }));
    expect(changed.members).toEqual([{ ...member("one"), state: { typing: true } }, member("two")]);
    expect(changed.change).toEqual({ action: "update", client: { ...member("one"), state: { typing: true } } });
    expect(updated(two, update("update", "unlisted"))).toMatchObject({ members: two.members, total: 2 });
  });

  it("counts members that are not listed, too (PRE5)", () => {
    const crowd = { members: [member("one")], total: 2_000 };
    expect(updated(crowd, update("leave", "unlisted"))).toMatchObject({ members: [member("one")], total: 1_999 });
    expect(updated(crowd, update("join", "two")).total).toBe(2_001);
  });
});
