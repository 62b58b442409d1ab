import { describe, expect, it } from "vitest";
import { Backpressure, HEARTBEAT_TIMEOUT_MS, MAX_UNCONFIRMED_CHARACTERS } from "../../src/channel/backpressure.ts";

/** A channel of readers, named by letters, whose heartbeats the test sets. */
function channel() {
  const heartbeats = new Map<string, number>();
  const backpressure = new Backpressure<string>((reader) => heartbeats.get(reader) ?? 0);
  const join = (reader: string) => {
    backpressure.add(reader);
    backpressure.setJoined(reader, true);
  };
  return { backpressure, heartbeats, join };
}

it("the limits are those of the protocol: 8 MiB and 90 seconds (CON7)", () => {
  expect([MAX_UNCONFIRMED_CHARACTERS, HEARTBEAT_TIMEOUT_MS]).toEqual([8_388_608, 90_000]);
});

describe("a slow client", () => {
  it("is a client that has confirmed too little of the text sent to it", () => {
    const { backpressure, join } = channel();
    join("a");
    backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS);
    expect(backpressure.check(1)).toEqual([]);
    backpressure.broadcast(1);
    expect(backpressure.check(1)).toEqual([["a", "slow"]]);
  });

  it("is not a client whose heartbeats keep up, even if it is sent a lot", () => {
    const { backpressure, heartbeats, join } = channel();
    join("a");
    for (let beat = 1; beat <= 100; beat++) {
      backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS / 3);
      heartbeats.set("a", beat);
      expect(backpressure.check(beat)).toEqual([]);
    }
  });

  it("confirms with each heartbeat only the text sent before the previous heartbeat", () => {
    const { backpressure, heartbeats, join } = channel();
    join("a");
    // The first heartbeat may have come before any of this was read, so it confirms nothing.
    backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS);
    heartbeats.set("a", 1);
    expect(backpressure.check(1)).toEqual([]);
    backpressure.broadcast(1);
    expect(backpressure.check(2)).toEqual([["a", "slow"]]);
  });

  it.each([1, 2, 3, 4, 5, 6])(
    "has confirmed with heartbeat %i exactly what was sent before the previous heartbeat",
    (beats) => {
      const { backpressure, heartbeats, join } = channel();
      join("a");
      // Powers of two: no two sums are equal, so the test notices a heartbeat that confirms too much or too little.
      const amounts = Array.from({ length: beats }, (_, index) => 1_000 * 2 ** index);
      const looks = amounts.map((amount, index) => {
        backpressure.broadcast(amount);
        heartbeats.set("a", index + 1);
        return backpressure.check(index + 1);
      });
      expect(looks.flat()).toEqual([]);
      // Heartbeat n was first seen by look n. So look n - 2 saw only what was sent before heartbeat n - 1.
      const unconfirmed = amounts.slice(Math.max(0, beats - 2)).reduce((sum, amount) => sum + amount, 0);
      backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS - unconfirmed);
      expect(backpressure.check(beats)).toEqual([]);
      backpressure.broadcast(1);
      expect(backpressure.check(beats)).toEqual([["a", "slow"]]);
    },
  );

  it("confirms nothing with a heartbeat that was already counted", () => {
    const { backpressure, heartbeats, join } = channel();
    join("a");
    for (const beat of [1, 2, 3]) {
      backpressure.broadcast(1_000);
      heartbeats.set("a", beat);
      backpressure.check(beat);
    }
    // Confirmed is what look 1 saw: the first 1,000 of 3,000.
    backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS - 2_000);
    for (let look = 0; look < 5; look++) expect(backpressure.check(3)).toEqual([]);
    backpressure.broadcast(1);
    expect(backpressure.check(3)).toEqual([["a", "slow"]]);
  });

  it("confirms text that was sent only to it in the same way", () => {
    const { backpressure, heartbeats } = channel();
    backpressure.add("a");
    for (const beat of [1, 2, 3]) {
      expect(backpressure.sent("a", 1_000 * beat)).toBe(false);
      heartbeats.set("a", beat);
      expect(backpressure.checkOne("a", beat)).toBe(undefined);
    }
    expect(backpressure.sent("a", MAX_UNCONFIRMED_CHARACTERS - 5_000)).toBe(true);
    expect(backpressure.checkOne("a", 3)).toBe(undefined);
    backpressure.sent("a", 1);
    expect(backpressure.checkOne("a", 3)).toBe("slow");
  });

  it("includes a client that gets too many histories and replays", () => {
    const { backpressure } = channel();
    backpressure.add("a");
    backpressure.sent("a", MAX_UNCONFIRMED_CHARACTERS + 1);
    expect(backpressure.checkOne("a", 1)).toBe("slow");
  });

  it("is not a client that only missed broadcasts from before its join or after its leave", () => {
    const { backpressure, join } = channel();
    backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS + 1);
    join("a");
    expect(backpressure.check(1)).toEqual([]);
    backpressure.setJoined("a", true);
    backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS / 2);
    backpressure.setJoined("a", false);
    backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS);
    expect(backpressure.check(1)).toEqual([]);
    backpressure.setJoined("a", false);
    backpressure.setJoined("a", true);
    backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS / 2);
    expect(backpressure.check(1)).toEqual([]);
    backpressure.broadcast(1);
    expect(backpressure.check(1)).toEqual([["a", "slow"]]);
  });

  it("does not make others slow", () => {
    const { backpressure, heartbeats, join } = channel();
    join("a");
    join("b");
    for (let beat = 1; beat <= 4; beat++) {
      backpressure.broadcast(MAX_UNCONFIRMED_CHARACTERS / 3);
      heartbeats.set("a", beat);
      expect(backpressure.check(beat)).toEqual(beat === 4 ? [["b", "slow"]] : []);
    }
  });
});

describe("a client that is gone", () => {
  it("is a client whose heartbeats have stopped", () => {
    const { backpressure, heartbeats, join } = channel();
    join("a");
    heartbeats.set("a", 1000);
    expect(backpressure.check(1000 + HEARTBEAT_TIMEOUT_MS)).toEqual([]);
    expect(backpressure.check(1001 + HEARTBEAT_TIMEOUT_MS)).toEqual([["a", "gone"]]);
  });

  it("is not a client that never sent a heartbeat", () => {
    const { backpressure, join } = channel();
    join("a");
    expect(backpressure.check(Number.MAX_SAFE_INTEGER)).toEqual([]);
  });
});

describe("checking one client", () => {
  it("is due after each 64 KiB that only this client is sent", () => {
    const { backpressure } = channel();
    backpressure.add("a");
    for (let look = 0; look < 3; look++) {
      expect(backpressure.sent("a", 64 * 1024 - 1)).toBe(false);
      expect(backpressure.sent("a", 1)).toBe(true);
      expect(backpressure.checkOne("a", 1)).toBe(undefined);
    }
  });

  it("returns nothing for a client that was removed", () => {
    const { backpressure } = channel();
    backpressure.add("a");
    backpressure.sent("a", MAX_UNCONFIRMED_CHARACTERS + 1);
    backpressure.remove("a");
    expect([backpressure.sent("a", 1), backpressure.checkOne("a", 1), backpressure.check(1)]).toEqual([
      false,
      undefined,
      [],
    ]);
  });
});

describe("checking all clients", () => {
  it("is due at once, and then after half a mebibyte of text or half a minute, each time", () => {
    const { backpressure } = channel();
    expect(backpressure.isDue(0)).toBe(true);
    backpressure.check(0);
    for (const began of [0, 30_000, 60_000]) {
      expect(backpressure.isDue(began + 29_999)).toBe(false);
      expect(backpressure.isDue(began + 30_000)).toBe(true);
      backpressure.check(began + 30_000);
    }
    for (let round = 1; round <= 2; round++) {
      backpressure.broadcast(512 * 1024 - 1);
      expect(backpressure.isDue(90_001)).toBe(false);
      backpressure.broadcast(1);
      expect(backpressure.isDue(90_001)).toBe(true);
      backpressure.check(90_000);
    }
  });

  it("is needed no earlier than the first client can be gone, and never for clients without heartbeats", () => {
    const { backpressure, heartbeats, join } = channel();
    for (const reader of ["a", "b", "simple"]) join(reader);
    expect(backpressure.nextGone()).toBe(Infinity);
    for (const [a, b] of [
      [1_000, 2_000],
      [31_000, 22_000],
    ] as const) {
      heartbeats.set("a", a);
      heartbeats.set("b", b);
      const first = Math.min(a, b) + HEARTBEAT_TIMEOUT_MS + 1;
      expect(backpressure.nextGone()).toBe(first);
      expect(backpressure.check(first - 1)).toEqual([]);
      expect(backpressure.check(first)).toEqual([[a < b ? "a" : "b", "gone"]]);
    }
  });
});
