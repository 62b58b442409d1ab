import { afterEach, describe, expect, it, vi } from "vitest";
import { asBatch, batchesOf, Fanout, type Traits } from "../../src/channel/fanout.ts";

const ANYBODY: Traits = { identity: { kind: "anonymous" }, batch: true, receives: true, presence: false };
const SERVER: Traits = { ...ANYBODY, identity: { kind: "server" } };
const FOR_ALL = { database: null };

/** A fan-out, and the texts that each socket was sent. */
function newFanout() {
  const sent = new Map<WebSocket, string[]>();
  const fanout = new Fanout((socket, text) => void sent.set(socket, [...(sent.get(socket) ?? []), text]));
  return {
    fanout,
    textsOf: (socket: WebSocket) => sent.get(socket) ?? [],
    add: (traits: Traits) => {
      const socket = new WebSocketPair()[0];
      fanout.add(socket, traits);
      return socket;
    },
  };
}

/** The frames of all batches, in order. */
const framesOf = (texts: string[]) => texts.flatMap((text) => JSON.parse(text) as number[]);

/** Until all that was to happen at the end of this turn has happened. */
const turn = () => new Promise<void>((resolve) => queueMicrotask(() => queueMicrotask(resolve)));

describe("frames as few arrays as possible (CON8)", () => {
  it("ends each array when its text exceeds 256 KiB, and the last array with the last frame", () => {
    const frames = Array.from({ length: 7 }, (_, index) => String(index).repeat(100 * 1024));
    const sizes = [...batchesOf(frames)].map((text) => text.split(",").map((frame) => frame.replace("[", "")[0]));
    expect(sizes).toEqual([["0", "1", "2"], ["3", "4", "5"], ["6"]]);
    const [half, less] = ["x".repeat(128 * 1024), "x".repeat(128 * 1024 - 1)];
    expect([...batchesOf([half, half, half, half])]).toEqual([asBatch([half, half]), asBatch([half, half])]);
    expect([...batchesOf([half, less, "1"])]).toEqual([asBatch([half, less, "1"])]);
    expect([...batchesOf([])]).toEqual([]);
  });
});

describe("a fan-out to thousands of sockets", () => {
  const AT_ONCE = 2_000;
  const START = 1_000_000;

  afterEach(() => void vi.useRealTimers());

  /** A fan-out to so many sockets that frames wait for each other, and when each batch went to the last socket. */
  function newCrowd() {
    vi.useFakeTimers({ toFake: ["setTimeout", "Date"], now: START });
    const { fanout, add, textsOf } = newFanout();
    const sockets = Array.from({ length: AT_ONCE }, () => add(ANYBODY));
    const texts = () => textsOf(sockets.at(-1) as WebSocket);
    return { fanout, texts };
  }

  it("makes frames wait at most 100 milliseconds, each time (CON8)", async () => {
    const { fanout, texts } = newCrowd();
    fanout.message("1", FOR_ALL);
    await turn();
    expect(texts()).toEqual(["[1]"]);
    for (const round of [2, 3, 4]) {
      fanout.message(`${round}`, FOR_ALL);
      await vi.advanceTimersByTimeAsync(99);
      expect(texts()).toHaveLength(round - 1);
      await vi.advanceTimersByTimeAsync(1);
      expect(texts().at(-1)).toBe(`[${round}]`);
    }
  });

  it("makes frames wait no longer after a pause, each time", async () => {
    const { fanout, texts } = newCrowd();
    for (const pause of [1, 2, 3]) {
      fanout.message("1", FOR_ALL);
      await turn();
      expect(texts()).toHaveLength(2 * pause - 1);
      fanout.message("2", FOR_ALL);
      await turn();
      expect(texts()).toHaveLength(2 * pause - 1);
      await vi.advanceTimersByTimeAsync(1_000);
      expect(texts()).toHaveLength(2 * pause);
    }
  });

  it("makes no frame wait because the clock steps back", async () => {
    const { fanout, texts } = newCrowd();
    for (const step of [1, 2]) {
      fanout.message("1", FOR_ALL);
      await turn();
      vi.setSystemTime(START - step * 3_600_000);
      fanout.message("2", FOR_ALL);
      await turn();
      expect(texts()).toHaveLength(2 * step);
      await vi.advanceTimersByTimeAsync(1_000);
    }
  });
});

describe("a fan-out", () => {
  it("sends each frame at once to sockets that did not ask for batches", () => {
    const { fanout, add, textsOf } = newFanout();
    const socket = add({ ...ANYBODY, batch: false });
    fanout.message("1", FOR_ALL);
    fanout.message("2", FOR_ALL);
    expect(textsOf(socket)).toEqual(["1", "2"]);
  });

  it("sends all frames of one task as one array, in order, at its end (CON8)", async () => {
    const { fanout, add, textsOf } = newFanout();
    const socket = add(ANYBODY);
    for (const frame of ["1", "2", "3"]) fanout.message(frame, FOR_ALL);
    expect(textsOf(socket)).toEqual([]);
    await turn();
    expect(textsOf(socket)).toEqual(["[1,2,3]"]);
  });

  it("delays no frame while sending is cheap", async () => {
    const { fanout, add, textsOf } = newFanout();
    const sockets = Array.from({ length: 400 }, () => add(ANYBODY));
    for (const frame of ["1", "2", "3"]) {
      fanout.message(frame, FOR_ALL);
      await turn();
    }
    for (const socket of sockets) expect(textsOf(socket)).toEqual(["[1]", "[2]", "[3]"]);
  });

  it("collects frames under load for a limited time, and no longer after a pause", async () => {
    const { fanout, add, textsOf } = newFanout();
    const sockets = Array.from({ length: 2_000 }, () => add(ANYBODY));
    for (const frame of ["1", "2", "3"]) {
      fanout.message(frame, FOR_ALL);
      await turn();
    }
    for (const socket of sockets) expect(textsOf(socket)).toEqual(["[1]"]);
    await vi.waitUntil(() => sockets.every((socket) => textsOf(socket).length > 1));
    for (const socket of sockets) expect(textsOf(socket)).toEqual(["[1]", "[2,3]"]);
    const clock = vi.spyOn(Date, "now").mockReturnValue(Date.now() + 1_000);
    fanout.message("4", FOR_ALL);
    await turn();
    clock.mockRestore();
    for (const socket of sockets) expect(textsOf(socket).at(-1)).toEqual("[4]");
  });

  it("sends a batch at once when it becomes large", () => {
    const { fanout, add, textsOf } = newFanout();
    const socket = add(ANYBODY);
    fanout.message("1", FOR_ALL);
    fanout.message(`"${"x".repeat(300_000)}"`, FOR_ALL);
    expect(textsOf(socket).map((text) => text.slice(0, 5))).toEqual(['[1,"x']);
  });

  it("measures each batch from its own start, also the second one", async () => {
    const { fanout, add, textsOf } = newFanout();
    const socket = add(ANYBODY);
    const frame = JSON.stringify("x".repeat(200 * 1024));
    for (const count of [1, 2, 3]) {
      fanout.message(frame, FOR_ALL);
      expect(textsOf(socket)).toHaveLength(count - 1);
      await vi.waitUntil(() => textsOf(socket).length === count);
    }
    fanout.message(frame, FOR_ALL);
    fanout.message(frame, FOR_ALL);
    expect(textsOf(socket).slice(3)).toEqual([asBatch([frame, frame])]);
  });

  it("sends a socket that joins while frames wait only the later frames (JOI3)", async () => {
    const { fanout, add, textsOf } = newFanout();
    const early = add(ANYBODY);
    fanout.message("1", FOR_ALL);
    const late = add(ANYBODY);
    fanout.message("2", FOR_ALL);
    const last = add(ANYBODY);
    await turn();
    expect([early, late, last].map(textsOf)).toEqual([["[1,2]"], ["[2]"], []]);
    fanout.message("3", FOR_ALL);
    await vi.waitUntil(() => textsOf(last).length === 1);
    expect([early, late, last].map((socket) => textsOf(socket).at(-1))).toEqual(["[3]", "[3]", "[3]"]);
  });

  it("sends a socket its waiting frames before anything else", () => {
    const { fanout, add, textsOf } = newFanout();
    const socket = add(ANYBODY);
    fanout.message("1", FOR_ALL);
    fanout.flushFor(socket);
    expect(textsOf(socket)).toEqual(["[1]"]);
  });

  it.each<[string, Partial<Traits>]>([
    ["joins again", {}],
    ["joins again for presence", { presence: true }],
    ["may no longer receive", { receives: false }],
  ])("first sends the waiting frames, once and in order, to a socket that %s", async (_, change) => {
    const { fanout, add, textsOf } = newFanout();
    const [socket, other] = [add(ANYBODY), add(ANYBODY)];
    for (const round of [1, 2, 3]) {
      fanout.message(`${round}1`, FOR_ALL);
      fanout.message(`${round}2`, FOR_ALL);
      fanout.add(socket, { ...ANYBODY, ...change });
      expect(textsOf(socket).at(-1)).toBe(`[${round}1,${round}2]`);
      fanout.add(socket, ANYBODY);
      fanout.message(`${round}3`, FOR_ALL);
      await vi.waitUntil(() => textsOf(socket).length === 2 * round);
    }
    const frames = [11, 12, 13, 21, 22, 23, 31, 32, 33];
    for (const each of [socket, other]) expect(framesOf(textsOf(each))).toEqual(frames);
    expect(fanout.size).toBe(2);
  });

  it("leaves a socket out of one presence frame: it gets what waited before, and what follows (PRE2)", async () => {
    const { fanout, add, textsOf } = newFanout();
    const [watcher, other] = [1, 2].map(() => add({ ...ANYBODY, presence: true })) as [WebSocket, WebSocket];
    fanout.message("1", FOR_ALL);
    fanout.presence("2", new Map([[watcher, null]]));
    fanout.message("3", FOR_ALL);
    await vi.waitUntil(() => framesOf(textsOf(other)).length === 3);
    expect([watcher, other].map((socket) => framesOf(textsOf(socket)))).toEqual([
      [1, 3],
      [1, 2, 3],
    ]);
  });

  it("does not flush the other sockets if no frame waits for this one", async () => {
    const { fanout, add, textsOf } = newFanout();
    const waiting = add(ANYBODY);
    fanout.message("1", FOR_ALL);
    fanout.flushFor(add(ANYBODY));
    expect(textsOf(waiting)).toEqual([]);
    await turn();
    expect(textsOf(waiting)).toEqual(["[1]"]);
  });

  it("sends nothing to a socket that was removed", async () => {
    const { fanout, add, textsOf } = newFanout();
    const [stays, goes] = [add(ANYBODY), add(ANYBODY)];
    fanout.message("1", FOR_ALL);
    expect([fanout.remove(goes), fanout.remove(goes), fanout.size]).toEqual([true, false, 1]);
    await turn();
    expect([textsOf(stays), textsOf(goes)]).toEqual([["[1]"], []]);
  });

  it("sends each socket only the frames that it may see", async () => {
    const { fanout, add, textsOf } = newFanout();
    const user = (database: string): Traits => ({
      ...ANYBODY,
      identity: { kind: "user", database, dbo_id: 1, row_id: 1, extras: {}, expires: Infinity },
    });
    const [anybody, ours, theirs, server] = [ANYBODY, user("ours"), user("theirs"), SERVER].map(add);
    const [deaf, watching] = [add({ ...ANYBODY, receives: false }), add({ ...ANYBODY, presence: true })];
    fanout.message('"all"', FOR_ALL);
    fanout.message('"ours"', { database: "ours" });
    fanout.presence('"news"');
    await turn();
    const seen = [anybody, ours, theirs, server, deaf, watching].map((socket) => socket && textsOf(socket).join(" "));
    expect(seen).toEqual(['["all"]', '["all","ours"]', '["all"]', '["all","ours"]', "", '["all","news"]']);
    expect(fanout.readers({ database: "ours" })).toEqual([ours, server]);
    expect(fanout.watchers()).toEqual([watching]);
  });
});
