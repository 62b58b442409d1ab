import { describe, expect, it } from "vitest";
import { CallBatcher } from "../../src/http/call-batcher.ts";

/** Calls that stay under way until they are let go. */
function newCalls() {
  const calls: { items: string[]; end: () => void; fail: (error: Error) => void }[] = [];
  const call = (items: string[]) =>
    new Promise<string[]>((resolve, reject) => {
      calls.push({ items, end: () => resolve(items.map((item) => `${item}!`)), fail: reject });
    });
  const kept: Promise<unknown>[] = [];
  const coalescer = new CallBatcher<string, string>((item) => item.length);
  const submit = (item: string, key = "channel") => coalescer.submit(key, item, call, (work) => void kept.push(work));
  return { calls, submit, kept, carried: () => calls.map(({ items }) => items) };
}

describe("requests that publish to one channel at the same time", () => {
  it("start a call at once if none is running", async () => {
    const { calls, submit } = newCalls();
    const outcome = submit("a");
    calls[0]?.end();
    expect(await outcome).toBe("a!");
  });

  it("share the next call while one is running, in order and each with its own result", async () => {
    const { calls, submit, carried } = newCalls();
    const outcomes = Promise.all(["a", "b", "c", "d"].map((item) => submit(item)));
    expect(carried()).toEqual([["a"]]);
    calls[0]?.end();
    await expect.poll(carried).toEqual([["a"], ["b", "c", "d"]]);
    calls[1]?.end();
    expect(await outcomes).toEqual(["a!", "b!", "c!", "d!"]);
  });

  it("wait only a limited time for a slow call", async () => {
    const { calls, submit, carried } = newCalls();
    const outcomes = [submit("a"), submit("b")];
    await expect.poll(carried).toEqual([["a"], ["b"]]);
    calls[1]?.end();
    expect(await outcomes[1]).toBe("b!");
    calls[0]?.end();
    expect(await outcomes[0]).toBe("a!");
  });

  it("all fail if their call fails, without affecting the next call", async () => {
    const { calls, submit, carried } = newCalls();
    const first = submit("a");
    const others = Promise.allSettled([submit("b"), submit("c")]);
    calls[0]?.fail(new Error("reset"));
    await expect(first).rejects.toThrow("reset");
    await expect.poll(carried).toEqual([["a"], ["b", "c"]]);
    calls[1]?.fail(new Error("reset again"));
    expect((await others).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    const next = submit("d");
    calls[2]?.end();
    expect(await next).toBe("d!");
  });

  it("are split into several calls if one call would be too large", async () => {
    const { submit, carried } = newCalls();
    const large = "x".repeat(600_000);
    for (const item of ["a", large, large]) void submit(item);
    await expect.poll(() => carried().map((items) => items.length)).toEqual([1, 1, 1]);
  });

  it("don't share calls with requests of other channels", () => {
    const { submit, carried } = newCalls();
    void submit("a", "one");
    void submit("b", "two");
    expect(carried()).toEqual([["a"], ["b"]]);
  });

  it("keep the calling request alive until all of them have their results", async () => {
    const { calls, submit, kept, carried } = newCalls();
    const outcomes = Promise.all([submit("a"), submit("b"), submit("c")]);
    expect(kept).toHaveLength(2);
    calls[0]?.end();
    await expect.poll(carried).toHaveLength(2);
    calls[1]?.end();
    await outcomes;
    await Promise.all(kept);
  });
});
