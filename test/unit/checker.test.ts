import { describe, expect, it } from "vitest";
import { Checker } from "../support/checker.ts";

const kept = ["a", "b", "c", "d"].map((message, index) => ({ seq: index + 1, message }));

describe("the checker of all fault tests", () => {
  it("reports nothing if nothing is wrong", () => {
    const checker = new Checker();
    for (const { seq, message } of kept) checker.acknowledge(seq, message);
    const subscriber = checker.subscriber();
    subscriber.saw({ seq: 1, message: "a" });
    subscriber.gap();
    subscriber.saw({ seq: 3, message: "c" });
    subscriber.saw({ seq: 4, message: "d" });
    expect(checker.faults(kept, kept)).toEqual([]);
  });

  it.each<[string, (checker: Checker) => void, typeof kept, typeof kept]>([
    ["a lost message", (checker) => checker.acknowledge(5, "e"), kept, kept],
    ["a message in another place", (checker) => checker.acknowledge(2, "a"), kept, kept],
    ["a doubled message", () => {}, [...kept, { seq: 5, message: "a" }], [...kept, { seq: 5, message: "a" }]],
    ["a gap in history", () => {}, kept.slice(1), kept.slice(1)],
    ["a repeat in history", () => {}, [...kept, { seq: 4, message: "e" }], [...kept, { seq: 4, message: "e" }]],
    ["a gap in what a subscriber saw", (checker) => see(checker, [kept[0], kept[2]]), kept, kept],
    ["a repeat in what a subscriber saw", (checker) => see(checker, [kept[0], kept[0]]), kept, kept],
    ["a delivery of what is not kept", (checker) => see(checker, [{ seq: 5, message: "e" }]), kept, kept],
    ["an archive that lacks one", () => {}, kept, kept.slice(0, 3)],
  ])("finds %s", (_, act, history, archive) => {
    const checker = new Checker();
    act(checker);
    expect(checker.faults(history, archive)).not.toEqual([]);
  });
});

function see(checker: Checker, sightings: ((typeof kept)[number] | undefined)[]): void {
  const subscriber = checker.subscriber();
  for (const sighting of sightings) if (sighting) subscriber.saw(sighting);
}
