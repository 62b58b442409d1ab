import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FreshCopy } from "../../src/shared/fresh-copy.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A copy of a number in D1 that the test plays: it ends the loads. */
function world({ shares = true, known }: { shares?: boolean; known?: { value: number } } = {}) {
  const loads: PromiseWithResolvers<number>[] = [];
  const accepted: number[] = [];
  const failed: unknown[] = [];
  const copy = new FreshCopy<number>(
    shares,
    { accepted: (value) => void accepted.push(value), failed: (error) => void failed.push(error) },
    known,
  );
  const load = () => {
    const begun = Promise.withResolvers<number>();
    loads.push(begun);
    return begun.promise;
  };
  const isUsable = () => copy.isUsable(load);
  return { copy, load, loads, accepted, failed, isUsable };
}

/** Lets time pass, and everything happen that is due. */
const wait = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

/** Whether a promise has settled after so many milliseconds, and one earlier. */
async function settlesAfter(promise: Promise<unknown>, milliseconds: number): Promise<[boolean, boolean]> {
  let isSettled = false;
  void promise.then(() => {
    isSettled = true;
  });
  await wait(milliseconds - 1);
  const before = isSettled;
  await wait(1);
  return [before, isSettled];
}

/** A copy that has just been loaded with the value 1. */
async function loaded() {
  const parts = world();
  const refreshed = parts.copy.refreshed(parts.load);
  parts.loads[0]?.resolve(1);
  await refreshed;
  return parts;
}

/** A copy whose load has just failed, while it knew 1. */
async function failing() {
  const parts = world({ known: { value: 1 } });
  const refreshed = parts.copy.refreshed(parts.load);
  parts.loads[0]?.reject(new Error("D1_ERROR: on purpose"));
  await refreshed;
  return parts;
}

describe("the age of a copy (SET1)", () => {
  it("is less than 5 s for an action that is judged by it", async () => {
    const { isUsable } = await loaded();
    await wait(4_999);
    expect(isUsable()).toBe(true);
    await wait(1);
    expect(isUsable()).toBe(false);
  });

  it("counts from the beginning of the load", async () => {
    const { copy, load, loads, isUsable } = world();
    const refreshed = copy.refreshed(load);
    await wait(900);
    loads[0]?.resolve(1);
    await refreshed;
    await wait(4_099);
    expect(isUsable()).toBe(true);
    await wait(1);
    expect(isUsable()).toBe(false);
  });

  it("counts the age of a value that another reader loaded", async () => {
    const { copy, isUsable } = world();
    copy.set(1, 2_000);
    await wait(2_999);
    expect(isUsable()).toBe(true);
    await wait(1);
    expect(isUsable()).toBe(false);
  });

  it("may be limited further by a caller", async () => {
    const { copy, load } = await loaded();
    await wait(1_000);
    expect([copy.isUsable(load, 1_001), copy.isUsable(load, 1_000)]).toEqual([true, false]);
  });

  it("is unknown for a value that was stored, so it is not used before a load", () => {
    expect(world({ known: { value: 1 } }).isUsable()).toBe(false);
  });

  it("is as long as the clock stepped back", async () => {
    const { isUsable } = await loaded();
    vi.setSystemTime(Date.now() - 5_000);
    expect(isUsable()).toBe(false);
  });
});

describe("a copy under steady traffic", () => {
  it("is loaded in the background from half of the allowed age on, once", async () => {
    const { copy, loads, isUsable } = await loaded();
    await wait(2_499);
    isUsable();
    expect(loads).toHaveLength(1);
    await wait(1);
    expect([isUsable(), isUsable(), loads.length]).toEqual([true, true, 2]);
    loads[1]?.resolve(2);
    await wait(0);
    expect(copy.known).toEqual({ value: 2 });
  });
});

describe("waiting for a load", () => {
  it("ends with the load", async () => {
    const { copy, load, loads, accepted } = world();
    const refreshed = copy.refreshed(load);
    loads[0]?.resolve(1);
    await refreshed;
    expect([copy.known, accepted, vi.getTimerCount()]).toEqual([{ value: 1 }, [1], 0]);
  });

  it("ends one second after the load began, also for those who came later", async () => {
    const { copy, load, loads } = world();
    const first = copy.refreshed(load);
    await wait(600);
    const second = copy.refreshed(load);
    expect(await settlesAfter(Promise.all([first, second]), 400)).toEqual([false, true]);
    expect(loads).toHaveLength(1);
  });

  it("ends after five seconds for those who cannot go on without a value", async () => {
    const { copy, load } = world();
    expect(await settlesAfter(copy.loaded(load), 5_000)).toEqual([false, true]);
  });

  it("is not for a load of another caller, if loads are not shared", async () => {
    const { copy, load, loads } = world({ shares: false });
    const both = Promise.all([copy.refreshed(load), copy.refreshed(load)]);
    expect(loads).toHaveLength(2);
    for (const begun of loads) begun.resolve(1);
    await both;
    expect(copy.known).toEqual({ value: 1 });
  });

  it("ends when another reader brings a newer value", async () => {
    const { copy, load } = world();
    const refreshed = copy.refreshed(load);
    copy.set(2, 0);
    await refreshed;
    expect(copy.known).toEqual({ value: 2 });
  });
});

describe("of two loads", () => {
  it("the one that began later counts, in whatever order they end", async () => {
    const { copy, load, loads, accepted } = world({ shares: false });
    const both = [copy.refreshed(load), copy.refreshed(load)];
    loads[1]?.resolve(2);
    await both[1];
    loads[0]?.resolve(1);
    await both[0];
    expect([copy.known, accepted]).toEqual([{ value: 2 }, [2]]);
  });

  it("the one that began before a value was set is discarded", async () => {
    const { copy, load, loads } = world();
    const refreshed = copy.refreshed(load);
    copy.set(2, 0);
    loads[0]?.resolve(1);
    await refreshed;
    await wait(0);
    expect(copy.known).toEqual({ value: 2 });
  });
});

describe("a value of unknown age", () => {
  it("is taken if none is known, and never instead of one that is", async () => {
    const { copy, accepted, isUsable } = world();
    copy.seed({ value: 1 });
    copy.seed({ value: 2 });
    expect([copy.known, accepted, isUsable()]).toEqual([{ value: 1 }, [1], false]);
  });
});

describe("while D1 fails or hangs (SET1)", () => {
  it("the last known value serves, and nobody waits again for 10 s after a failure", async () => {
    const { copy, failed, isUsable } = await failing();
    // A copy that nobody asks before: asking begins a load.
    const other = await failing();
    await wait(9_999);
    expect([copy.known, failed.length, isUsable()]).toEqual([{ value: 1 }, 1, true]);
    await wait(1);
    expect(other.isUsable()).toBe(false);
  });

  it("loads are tried after pauses of 1, 2, 4 and 4 s", async () => {
    const { loads, isUsable } = await failing();
    for (const [index, pause] of [1_000, 2_000, 4_000, 4_000, 4_000].entries()) {
      await wait(pause - 1);
      expect([isUsable(), loads.length]).toEqual([true, index + 1]);
      await wait(1);
      expect([isUsable(), loads.length]).toEqual([true, index + 2]);
      loads.at(-1)?.reject(new Error("D1_ERROR: on purpose"));
      await wait(0);
    }
  });

  it("a pause holds for those who would wait for a load, too", async () => {
    const { copy, load, loads } = await failing();
    await copy.refreshed(load);
    await copy.refreshed(load, false);
    await copy.loaded(load);
    expect(loads).toHaveLength(1);
  });

  it("a load that hangs excuses others from waiting after one second, and counts as failed after five", async () => {
    const { copy, load, loads, failed, isUsable } = await loaded();
    await wait(5_000);
    expect(isUsable()).toBe(false);
    const refreshed = copy.refreshed(load);
    await wait(999);
    expect(isUsable()).toBe(false);
    await wait(1);
    await refreshed;
    expect(isUsable()).toBe(true);
    await wait(3_999);
    expect([isUsable(), failed.length]).toEqual([true, 0]);
    await wait(1);
    expect([isUsable(), failed.length, loads.length]).toEqual([true, 1, 2]);
    // It failed when its time was over, so the pause counts from there.
    await wait(1_000);
    expect([isUsable(), loads.length]).toEqual([true, 3]);
  });

  it("a load that another caller waits for excuses those who come after its first second", async () => {
    const { copy, load, isUsable } = world();
    void copy.loaded(load);
    await wait(999);
    expect(isUsable()).toBe(false);
    await wait(1);
    expect(isUsable()).toBe(true);
  });

  it("a load that failed when its time was over does not fail again when it ends", async () => {
    const { copy, load, loads, failed, isUsable } = world();
    void copy.loaded(load);
    await wait(5_000);
    isUsable();
    expect(failed).toHaveLength(1);
    loads[0]?.reject(new Error("D1_ERROR: late"));
    await wait(0);
    expect(failed).toHaveLength(1);
  });

  it("a load that ends late is taken, but does not end the outage", async () => {
    const { copy, load, loads, isUsable } = world();
    void copy.loaded(load);
    await wait(5_000);
    isUsable();
    loads[0]?.resolve(1);
    await wait(0);
    expect(copy.known).toEqual({ value: 1 });
    await wait(1);
    expect(isUsable()).toBe(true);
  });

  it("a load in time ends the outage and its pauses: the next failure pauses for 1 s again", async () => {
    const { loads, isUsable } = await failing();
    await wait(1_000);
    isUsable();
    loads[1]?.resolve(2);
    await wait(5_000);
    expect(isUsable()).toBe(false);
  });

  it("the pauses begin at 1 s again after a load in time", async () => {
    const { copy, load, loads, isUsable } = await failing();
    await wait(1_000);
    isUsable();
    loads[1]?.resolve(2);
    await wait(5_000);
    const refreshed = copy.refreshed(load);
    loads[2]?.reject(new Error("D1_ERROR: on purpose"));
    await refreshed;
    await wait(1_000);
    isUsable();
    expect(loads).toHaveLength(4);
  });
});
