import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ChannelError, type ErrorDetails } from "../../src/errors.ts";
import { type KeptMessage, MAX_IN_FLIGHT, Outbox, type OutboxStorage, type Outgoing } from "../../src/outbox.ts";
import { Pacer } from "../../src/pacer.ts";
import { PresenceState } from "../../src/presence-state.ts";

const SECONDS = 1_000;
const AT = "2026-11-24T10:00:00.000Z";

/** An outbox with a connection that can be taken away, the ids of each array that it sent, and the outcome of each message. */
class Subject {
  connected = true;
  readonly arrays: string[][] = [];
  readonly outcomes = new Map<string, unknown>();
  readonly outbox: Outbox;

  constructor(window?: number) {
    const transmit = (messages: readonly Outgoing[]) => {
      if (this.connected) this.arrays.push(messages.map(({ id }) => id));
      return this.connected;
    };
    this.outbox = new Outbox({ transmit, ...(window !== undefined && { window }) });
  }

  async send(...ids: string[]): Promise<void> {
    await this.sendAs({}, ...ids);
  }

  async sendAs(more: Partial<Outgoing>, ...ids: string[]): Promise<void> {
    for (const id of ids) {
      void this.outbox.send({ id, channel: "a", text: "{}", kind: "stored", ...more }).then(
        (place) => this.outcomes.set(id, place?.seq),
        ({ code }: ChannelError) => this.outcomes.set(id, code),
      );
    }
    await settled();
  }

  async ack(id: string, seq?: number): Promise<boolean> {
    const known = this.outbox.acked(id, seq === undefined ? undefined : { seq, time: AT });
    await settled();
    return known;
  }

  async refuse(id: string | undefined, code: ChannelError["code"], details: ErrorDetails = {}): Promise<boolean> {
    const known = this.outbox.refused(id, new ChannelError(code, "", details));
    await settled();
    return known;
  }

  async reconnect(): Promise<void> {
    this.outbox.interrupt();
    await settled();
    this.outbox.open();
    await settled();
  }
}

async function settled(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

/** Returns an outbox that may send. */
function open(window?: number): Subject {
  const subject = new Subject(window);
  subject.outbox.open();
  return subject;
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("messages that are sent over a socket", () => {
  it("wait for the join, share one array if they are ready together, and settle by their own answers in any order", async () => {
    const subject = new Subject();
    await subject.send("a", "b", "c");
    expect(subject.arrays).toEqual([]);
    subject.outbox.open();
    expect(subject.arrays).toEqual([["a", "b", "c"]]);
    await subject.ack("c", 3);
    await subject.refuse("a", "forbidden");
    await subject.ack("b", 2);
    expect([...subject.outcomes]).toEqual([
      ["c", 3],
      ["a", "forbidden"],
      ["b", 2],
    ]);
  });

  it("are not confused with other frames' answers", async () => {
    const subject = open();
    await subject.send("a");
    expect(await subject.ack("b", 1)).toBe(false);
    expect(await subject.refuse("b", "forbidden")).toBe(false);
    expect(await subject.ack("a", 1)).toBe(true);
    expect(await subject.ack("a", 1)).toBe(false);
    expect([...subject.outcomes]).toEqual([["a", 1]]);
  });

  it("are in flight up to a number, and each answer makes room for the next in order", async () => {
    const subject = open();
    const ids = Array.from({ length: MAX_IN_FLIGHT + 3 }, (_, n) => `${n}`);
    await subject.send(...ids);
    expect(subject.arrays).toEqual([ids.slice(0, MAX_IN_FLIGHT)]);
    await subject.ack("5", 6);
    await subject.ack("0", 1);
    expect(subject.arrays.slice(1)).toEqual([["32"], ["33"]]);
  });

  it("are sent again with the same ids after a lost connection, in order and before newer ones, twice in a row", async () => {
    const subject = open();
    await subject.send("a", "b", "c");
    await subject.ack("b", 2);
    subject.outbox.interrupt();
    await subject.send("d");
    await subject.reconnect();
    await subject.reconnect();
    expect(subject.arrays).toEqual([
      ["a", "b", "c"],
      ["a", "c", "d"],
      ["a", "c", "d"],
    ]);
    for (const [id, seq] of [
      ["a", 1],
      ["c", 3],
      ["d", 4],
    ] as const)
      await subject.ack(id, seq);
    expect(Object.fromEntries(subject.outcomes)).toEqual({ a: 1, b: 2, c: 3, d: 4 });
  });

  it("stay in the queue while the connection is in doubt", async () => {
    const subject = open();
    subject.connected = false;
    await subject.send("a");
    subject.connected = true;
    subject.outbox.wake();
    expect(subject.arrays).toEqual([["a"]]);
  });

  it("are sent again if nothing is answered for ten seconds", async () => {
    const subject = open();
    await subject.send("a", "b");
    await vi.advanceTimersByTimeAsync(6 * SECONDS);
    await subject.ack("a", 1);
    await vi.advanceTimersByTimeAsync(6 * SECONDS);
    expect(subject.arrays).toEqual([["a", "b"]]);
    await vi.advanceTimersByTimeAsync(4 * SECONDS);
    expect(subject.arrays).toEqual([["a", "b"], ["b"]]);
  });

  it.each(["rate-limited", "unavailable", "backlog-full"] as const)(
    "wait as long as the server asks, and are then sent again from the refused one on: %s",
    async (code) => {
      const subject = open();
      await subject.send("a", "b", "c");
      await subject.ack("a", 1);
      await subject.refuse("b", code, { retryAfter: 2 });
      await subject.send("d");
      await vi.advanceTimersByTimeAsync(1_999);
      expect(subject.arrays).toEqual([["a", "b", "c"]]);
      await vi.advanceTimersByTimeAsync(1);
      expect(subject.arrays.slice(1)).toEqual([["b", "c", "d"]]);
      expect([...subject.outcomes]).toEqual([["a", 1]]);
    },
  );

  it("do not wait for another channel's pause", async () => {
    const subject = open();
    await subject.sendAs({ channel: "busy" }, "a");
    await subject.refuse("a", "backlog-full", { retryAfter: 2 });
    await subject.sendAs({ channel: "busy" }, "b");
    await subject.sendAs({ channel: "idle" }, "c");
    expect(subject.arrays).toEqual([["a"], ["c"]]);
    await vi.advanceTimersByTimeAsync(2 * SECONDS);
    expect(subject.arrays.slice(2)).toEqual([["a", "b"]]);
  });

  it("are refused at once if anonymous clients have used up their quota (LIM14)", async () => {
    const subject = open();
    await subject.send("a");
    await subject.refuse("a", "quota-exceeded", { retryAfter: 3_600 });
    expect([...subject.outcomes]).toEqual([["a", "quota-exceeded"]]);
  });

  it("take an error without an id only if just one message is in flight", async () => {
    const subject = open();
    await subject.send("a");
    expect(await subject.refuse(undefined, "too-deep")).toBe(true);
    await subject.send("b", "c");
    expect(await subject.refuse(undefined, "unauthorized")).toBe(false);
    expect([...subject.outcomes]).toEqual([["a", "too-deep"]]);
  });

  it("are refused before they are sent if they are larger than a frame, in bytes of UTF-8 (LIM1)", async () => {
    const subject = open();
    await subject.sendAs({ text: "x".repeat(65_536) }, "fits");
    await subject.sendAs({ text: "é".repeat(32_769) }, "too large");
    expect(subject.arrays).toEqual([["fits"]]);
    expect([...subject.outcomes]).toEqual([["too large", "too-large"]]);
  });

  it("share arrays of at most 1 MiB and 100 frames", async () => {
    const large = open(1_000);
    await large.sendAs({ text: "x".repeat(65_536) }, ...Array.from({ length: 17 }, (_, n) => `${n}`));
    expect(large.arrays.map(({ length }) => length)).toEqual([15, 2]);
    const many = open(1_000);
    await many.send(...Array.from({ length: 250 }, (_, n) => `${n}`));
    expect(many.arrays.map(({ length }) => length)).toEqual([100, 100, 50]);
  });

  it("reject when the channel is closed: unconfirmed if they are in flight, closed if not", async () => {
    const subject = open(1);
    await subject.send("a", "b");
    subject.outbox.close(new ChannelError("closed", ""));
    await settled();
    expect([...subject.outcomes]).toEqual([
      ["a", "unconfirmed"],
      ["b", "closed"],
    ]);
    await vi.advanceTimersByTimeAsync(60 * SECONDS);
    expect(subject.arrays).toEqual([["a"]]);
  });
});

describe("the pacer", () => {
  it("sends fewer frames than the server refuses, and delays the others in order (LIM6)", async () => {
    const pacer = new Pacer();
    const sent: string[] = [];
    const transmit = (messages: readonly Outgoing[]) => {
      for (const { id } of messages) sent.push(id);
      return true;
    };
    const outbox = new Outbox({ transmit, window: 1_000, pace: (frame) => pacer.take(frame) });
    outbox.open();
    const ids = Array.from({ length: 300 }, (_, n) => `${n}`);
    for (const id of ids) outbox.send({ id, channel: "a", text: "{}", kind: "stored" }).catch(() => {});
    await settled();
    expect(sent.length).toBeGreaterThan(50);
    for (let second = 0; second < 6; second++) {
      expect(sent.length).toBeLessThan(100 + 50 * second);
      await vi.advanceTimersByTimeAsync(1 * SECONDS);
    }
    expect(sent).toEqual(ids);
    outbox.close(new ChannelError("closed", ""));
  });
});

describe("messages that are kept in a storage", () => {
  /** A storage in memory, whose contents outlive an outbox as a browser's do. */
  class MemoryStorage implements OutboxStorage {
    readonly kept = new Map<string, KeptMessage>();
    load = async (channel: string) => [...this.kept.values()].filter((message) => message.channel === channel);
    put = async (message: KeptMessage) => this.kept.set(message.id, message);
    remove = async ({ id }: KeptMessage) => this.kept.delete(id);
  }

  /** Opens a page: an outbox of channel `a` that may send once it has read the storage. */
  function newPage(storage: OutboxStorage) {
    const sent: string[] = [];
    const outcomes: unknown[] = [];
    const failed = vi.fn();
    const outbox = new Outbox({
      transmit: (messages) => sent.push(...messages.map(({ id }) => id)) > 0,
      shelf: { storage, channel: "a", failed },
    });
    const send = (id: string, kind: Outgoing["kind"] = "stored") => {
      outbox.send({ id, channel: "a", text: `"${id}"`, kind }).then(
        () => outcomes.push(id),
        ({ code }: ChannelError) => outcomes.push(code),
      );
    };
    return { outbox, sent, outcomes, failed, send };
  }

  it("survive a reload, and are sent with the same ids and in order before newer ones", async () => {
    const storage = new MemoryStorage();
    const before = newPage(storage);
    for (const id of ["1", "2", "3"]) before.send(id);
    before.send("private", "private");
    before.outbox.open();
    await settled();
    before.outbox.acked("2", { seq: 1, time: AT });
    await settled();
    expect([...storage.kept.keys()]).toEqual(["1", "3"]);
    const after = newPage(storage);
    after.send("4");
    after.outbox.open();
    await settled();
    expect(after.sent).toEqual(["1", "3", "4"]);
    for (const id of ["1", "3", "4"]) after.outbox.acked(id, { seq: 1, time: AT });
    await settled();
    expect([storage.kept.size, after.outcomes, after.failed.mock.calls]).toEqual([0, ["4"], []]);
  });

  it("stay in the storage when the channel is closed, and leave it when the server refuses them", async () => {
    const storage = new MemoryStorage();
    const before = newPage(storage);
    before.send("1");
    before.outbox.open();
    await settled();
    before.outbox.close(new ChannelError("closed", ""));
    await settled();
    expect([before.outcomes, [...storage.kept.keys()]]).toEqual([["closed"], ["1"]]);
    const after = newPage(storage);
    after.outbox.open();
    await settled();
    after.outbox.refused("1", new ChannelError("forbidden", ""));
    await settled();
    expect([after.failed.mock.calls.length, storage.kept.size]).toEqual([1, 0]);
  });

  it("are given up after 24 hours, because the server forgets their ids (IDM3)", async () => {
    const storage = new MemoryStorage();
    const before = newPage(storage);
    before.send("1");
    await settled();
    await vi.advanceTimersByTimeAsync(24 * 3_600 * SECONDS + 1);
    const after = newPage(storage);
    after.outbox.open();
    await settled();
    expect([after.sent, storage.kept.size]).toEqual([[], 0]);
    expect(after.failed.mock.calls).toMatchObject([[{ code: "unconfirmed" }]]);
  });

  it("are sent even if the storage fails", async () => {
    const away = async () => {
      throw new Error("The storage is full.");
    };
    const page = newPage({ load: away, put: away, remove: away });
    page.send("1");
    page.outbox.open();
    await settled();
    page.outbox.acked("1", { seq: 1, time: AT });
    await settled();
    expect([page.sent, page.outcomes]).toEqual([["1"], ["1"]]);
  });
});

describe("messages that are not stored", () => {
  it("settle by their answers, without a position", async () => {
    const subject = open();
    await subject.sendAs({ kind: "private" }, "a");
    await subject.ack("a");
    expect([...subject.outcomes]).toEqual([["a", undefined]]);
  });

  it("are never sent twice: after a lost connection, and without an answer, they are unconfirmed", async () => {
    const lost = open();
    await lost.sendAs({ kind: "private" }, "a");
    await lost.send("b");
    await lost.reconnect();
    expect(lost.arrays).toEqual([["a"], ["b"], ["b"]]);
    expect([...lost.outcomes]).toEqual([["a", "unconfirmed"]]);
    const silent = open();
    await silent.sendAs({ kind: "ephemeral" }, "a");
    await vi.advanceTimersByTimeAsync(10 * SECONDS);
    expect([silent.arrays, [...silent.outcomes]]).toEqual([[["a"]], [["a", "unconfirmed"]]]);
  });

  it("are sent again if the server refused them for the time being", async () => {
    const subject = open();
    await subject.sendAs({ kind: "private" }, "a", "b");
    await subject.refuse("a", "rate-limited", { retryAfter: 1 });
    await vi.advanceTimersByTimeAsync(1 * SECONDS);
    expect(subject.arrays).toEqual([["a", "b"], ["a"]]);
  });

  it("wait for a connection if they are private, and are dropped if they are ephemeral", async () => {
    const subject = open();
    subject.connected = false;
    await subject.sendAs({ kind: "ephemeral" }, "a");
    subject.outbox.interrupt();
    await subject.sendAs({ kind: "ephemeral" }, "b");
    await subject.sendAs({ kind: "private" }, "c");
    subject.connected = true;
    subject.outbox.open();
    expect(subject.arrays).toEqual([["c"]]);
    expect(Object.fromEntries(subject.outcomes)).toEqual({ a: "network", b: "network" });
  });
});

describe("a client's presence state", () => {
  /** Returns a state, the states that it announced, and the function that answers the oldest announcement. */
  function newState() {
    const announced: string[] = [];
    const answers: ((code?: ChannelError["code"]) => void)[] = [];
    const state = new PresenceState(async (text) => {
      announced.push(text);
      await new Promise<void>((resolve, reject) =>
        answers.push((code) => (code === undefined ? resolve() : reject(new ChannelError(code, "")))),
      );
    });
    const answer = async (code?: ChannelError["code"]) => {
      answers.shift()?.(code);
      await settled();
    };
    const outcomes: unknown[] = [];
    const set = (text: string) => {
      state.set(text).then(
        () => outcomes.push(text),
        ({ code }: ChannelError) => outcomes.push(`${text} ${code}`),
      );
    };
    return { state, announced, answer, outcomes, set };
  }

  it("is announced after each join, and only the latest one", async () => {
    const { state, announced, answer, outcomes, set } = newState();
    set("1");
    set("2");
    state.open();
    set("3");
    set("4");
    await answer();
    await answer();
    expect([announced, outcomes]).toEqual([
      ["2", "4"],
      ["1", "2", "3", "4"],
    ]);
    for (let joins = 0; joins < 2; joins++) {
      state.interrupt();
      state.open();
      await answer();
    }
    expect(announced).toEqual(["2", "4", "4", "4"]);
  });

  it("is announced again if the connection was lost meanwhile", async () => {
    const { state, announced, answer, outcomes, set } = newState();
    state.open();
    set("1");
    state.interrupt();
    await answer("unconfirmed");
    state.open();
    await answer();
    expect([announced, outcomes]).toEqual([["1", "1"], ["1"]]);
  });

  it("stays as it was if the server refuses a new one", async () => {
    const { state, announced, answer, outcomes, set } = newState();
    state.open();
    set("1");
    await answer();
    set("2");
    await answer("too-large");
    state.interrupt();
    state.open();
    await answer();
    expect([announced, outcomes]).toEqual([
      ["1", "2", "1"],
      ["1", "2 too-large"],
    ]);
  });

  it("is announced to no one if it was never set, or after the channel was closed", async () => {
    const { state, announced, outcomes, set } = newState();
    state.open();
    state.interrupt();
    set("1");
    state.close(new ChannelError("closed", ""));
    await settled();
    state.open();
    expect([announced, outcomes]).toEqual([[], ["1 closed"]]);
  });
});
