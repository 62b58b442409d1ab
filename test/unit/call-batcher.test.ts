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
  it("make a call at once where none is under way", async () => {
    const { calls, submit } = newCalls();
    const outcome = submit("a");
    calls[0]?.end();
    expect(await outcome).toBe("a!");
  });

  it("share the call after the one that is under way, in their order, each with its own outcome", async () => {
    const { calls, submit, carried } = newCalls();
    const outcomes = Promise.all(["a", "b", "c", "d"].map((item) => submit(item)));
    expect(carried()).toEqual([["a"]]);
    calls[0]?.end();
    await expect.poll(carried).toEqual([["a"], ["b", "c", "d"]]);
    calls[1]?.end();
    expect(await outcomes).toEqual(["a!", "b!", "c!", "d!"]);
  });

  it("do not wait long for a call that takes long", async () => {
    const { calls, submit, carried } = newCalls();
    const outcomes = [submit("a"), submit("b")];
    await expect.poll(carried).toEqual([["a"], ["b"]]);
    calls[1]?.end();
    expect(await outcomes[1]).toBe("b!");
    calls[0]?.end();
    expect(await outcomes[0]).toBe("a!");
  });

  it("are told, all of one call, that it failed, and those of the next are not concerned", async () => {
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

  it("go apart where one call would carry too much", async () => {
    const { submit, carried } = newCalls();
    const large = "x".repeat(600_000);
    for (const item of ["a", large, large]) void submit(item);
    await expect.poll(() => carried().map((items) => items.length)).toEqual([1, 1, 1]);
  });

  it("have nothing to do with those of another channel", () => {
    const { submit, carried } = newCalls();
    void submit("a", "one");
    void submit("b", "two");
    expect(carried()).toEqual([["a"], ["b"]]);
  });

  it("keep the request that calls for the others running until they have their outcomes", async () => {
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
