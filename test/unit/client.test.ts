import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ChannelError } from "../../src/client/errors.ts";
import { changed, NOBODY } from "../../src/client/members.ts";
import type { Message } from "../../src/client/messages.ts";
import { Outbox } from "../../src/client/outbox.ts";
import { Connection } from "../../src/client/connection.ts";
import { Server } from "../../src/client/server.ts";
import { Watch } from "../../src/client/watch.ts";
import { CLOSE } from "../../src/protocol/close.ts";

const SECONDS = 1_000;

describe("a client's watch over its connection (CON7)", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function newWatch() {
    const line = { send: vi.fn(() => true), reconnect: vi.fn() };
    const watch = new Watch(line);
    watch.start();
    return { watch, ...line };
  }

  it("sends a heartbeat within every 30 seconds, the next only behind the answer to the last (CON3)", () => {
    const { watch, send } = newWatch();
    vi.advanceTimersByTime(30 * SECONDS);
    expect(send.mock.calls).toEqual([["ping"]]);
    expect(watch.heard("pong")).toBe(true);
    vi.advanceTimersByTime(30 * SECONDS);
    expect(send).toHaveBeenCalledTimes(2);
  });

  it("connects anew where nothing at all is heard any more", () => {
    const { reconnect } = newWatch();
    vi.advanceTimersByTime(60 * SECONDS);
    expect(reconnect).toHaveBeenCalled();
  });

  it("waits for a late answer as long as anything else is heard", () => {
    const { watch, reconnect } = newWatch();
    for (let n = 0; n < 10; n++) {
      vi.advanceTimersByTime(15 * SECONDS);
      expect(watch.heard('{"action":"event"}')).toBe(false);
    }
    expect(reconnect).not.toHaveBeenCalled();
  });

  it("sends one after each mebibyte received", () => {
    const { watch, send } = newWatch();
    watch.heard("x".repeat(1024 * 1024));
    expect(send).toHaveBeenCalledTimes(1);
  });

  it("rests while there is no connection", () => {
    const { watch, send } = newWatch();
    watch.stop();
    vi.advanceTimersByTime(90 * SECONDS);
    expect(send).not.toHaveBeenCalled();
  });
});

describe("a client whose connection is closed for sending too many frames (LIM6)", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("connects again, more and more slowly", async () => {
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
      channel: "a",
      WebSocket: ClosedForFlooding,
      opened,
      received: () => {},
      lost: () => {},
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

describe("a client's list of who is here (PRE2)", () => {
  const member = (socketId: string) => ({ socketId, permissions: { dbo_id: 0, row_id: 0 }, extras: {} });
  const update = (action: "join" | "leave", socketId: string) =>
    ({
      action: "presence_update",
      options: { channel: "a" },
      payload: { action, presence: member(socketId) },
    }) as const;

  it("follows who comes and goes, and holds nobody twice", () => {
    const one = changed(NOBODY, update("join", "one"));
    const two = changed(one, update("join", "two"));
    expect(changed(two, update("join", "two"))).toMatchObject({ members: [member("one"), member("two")], total: 2 });
    expect(changed(two, update("leave", "one"))).toMatchObject({ members: [member("two")], total: 1 });
    expect(one.members).toEqual([member("one")]);
  });

  it("counts those who are not listed, too (PRE5)", () => {
    const crowd = { members: [member("one")], total: 2_000 };
    expect(changed(crowd, update("leave", "unlisted"))).toMatchObject({ members: [member("one")], total: 1_999 });
    expect(changed(crowd, update("join", "two")).total).toBe(2_001);
  });
});

describe("a client's send whose connection was lost before the echo", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const client = (socketId: string) => ({ socketId, permissions: { dbo_id: 0, row_id: 0 }, extras: {} });
  const echo = (socketId: string, seq: number): Message => ({
    action: "message",
    client: client(socketId),
    options: { channel: "a", seq, time: "2026-11-24T10:00:00.000Z" },
    payload: "said",
  });
  function lost() {
    const outbox = new Outbox(() => true);
    outbox.joined("first", false);
    const outcome = vi.fn();
    const place = outbox.send({ text: "{}", payload: '"said"', isPrivate: false });
    place.then(outcome, ({ code }: ChannelError) => outcome(code));
    outbox.interrupt();
    return { outbox, outcome };
  }

  it("waits for its echo as long as missed messages arrive, over every connection", async () => {
    const { outbox, outcome } = lost();
    for (const socketId of ["second", "third"]) {
      outbox.joined(socketId, true);
      await vi.advanceTimersByTimeAsync(120 * SECONDS);
      expect(outcome).not.toHaveBeenCalled();
      if (socketId === "second") outbox.interrupt();
    }
    outbox.stored(echo("first", 7));
    await vi.advanceTimersByTimeAsync(0);
    expect(outcome).toHaveBeenCalledExactlyOnceWith({ seq: 7, time: "2026-11-24T10:00:00.000Z" });
  });

  it("is unconfirmed once all that was missed is here, and at the latest after a while without any", async () => {
    const resumed = lost();
    resumed.outbox.joined("second", true);
    resumed.outbox.resumed();
    await vi.advanceTimersByTimeAsync(0);
    expect(resumed.outcome).toHaveBeenCalledExactlyOnceWith("unconfirmed");
    const begun = lost();
    begun.outbox.joined("second", false);
    await vi.advanceTimersByTimeAsync(30 * SECONDS);
    expect(begun.outcome).toHaveBeenCalledExactlyOnceWith("unconfirmed");
  });
});
