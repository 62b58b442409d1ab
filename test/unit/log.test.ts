import { runInDurableObject } from "cloudflare:test";
import { describe, expect, it, vi } from "vitest";
import { MessageLog, type NewMessages } from "../../src/channel/message-log.ts";
import { newChannel, stubOf } from "./support.ts";

const CAPACITY = 8;

/** Runs in an object of its own, with a log of eight slots in its real storage. */
function withLog(test: (log: MessageLog, storage: DurableObjectStorage) => void): Promise<void> {
  return runInDurableObject(stubOf(newChannel()), (_, { storage }) => {
    const log = new MessageLog(storage, CAPACITY);
    log.start([]);
    test(log, storage);
  });
}

const MESSAGE: NewMessages = { action: "event", client: null, database: null, type: null, payloads: ["0"] };
const withoutKeys = (messages: object[]) => messages.map((message) => Object.assign({ key: null }, message));
const append = (log: MessageLog, count: number) => Array.from({ length: count }, () => log.append(MESSAGE)).flat();
const all = (log: MessageLog) => [...log.read({ from: 1, to: log.last })].map(({ seq }) => seq);
const rowsOf = (storage: DurableObjectStorage) =>
  storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM log").one().n;

describe("the log", () => {
  it("numbers messages 1, 2, 3 … in the order of appending (ORD1)", () =>
    withLog((log) => {
      expect(append(log, 2).map(({ seq }) => seq)).toEqual([1, 2]);
      expect(append(log, 1).map(({ seq }) => seq)).toEqual([3]);
      expect(log.last).toBe(3);
      expect(all(log)).toEqual([1, 2, 3]);
    }));

  it("holds as many of the latest messages as it has slots, and deletes no row", () =>
    withLog((log, storage) => {
      for (let n = 1; n <= 3 * CAPACITY + 3; n++) {
        append(log, 1);
        log.markArchived(n);
        expect(rowsOf(storage)).toBe(Math.min(n, CAPACITY));
        expect(all(log)).toEqual(
          Array.from({ length: Math.min(n, CAPACITY) }, (_, i) => Math.max(1, n - CAPACITY + 1) + i),
        );
      }
    }));

  it("reads any range forward and backward, also over the ring's seam", () =>
    withLog((log) => {
      append(log, CAPACITY);
      log.markArchived(CAPACITY);
      append(log, 3);
      const held = [4, 5, 6, 7, 8, 9, 10, 11];
      for (let from = 0; from <= 12; from++) {
        for (let to = from - 1; to <= 13; to++) {
          const expected = held.filter((seq) => seq >= from && seq <= to);
          expect([...log.read({ from, to })].map(({ seq }) => seq)).toEqual(expected);
          expect([...log.read({ from, to }, "DESC")].map(({ seq }) => seq)).toEqual(expected.toReversed());
        }
      }
    }));

  it("finds the first message after a time, also over the ring's seam", () =>
    withLog((log) => {
      const clock = vi.spyOn(Date, "now");
      const times: number[] = [];
      try {
        for (let seq = 1; seq <= 3 * CAPACITY; seq++) {
          times.push(Math.floor(seq / 3) * 10);
          clock.mockReturnValue(times.at(-1) ?? 0);
          append(log, 1);
          log.markArchived(seq);
          const asked = [-1, 0, 5, 10, 20, 25, 40, 79, 80, 81, 1000];
          const isLater = (time: number) => times.findIndex((at, index) => index + 1 >= log.oldest && at >= time);
          const expected = asked.map((time) => (isLater(time) === -1 ? seq + 1 : isLater(time) + 1));
          expect(log.positionsAt(asked)).toEqual(expected);
        }
      } finally {
        clock.mockRestore();
      }
    }));

  it("knows its position after a restart, at any archived position and after many rounds of the ring", () =>
    withLog((log, storage) => {
      for (let round = 1; round <= 40; round++) {
        append(log, (round % 3) + 1);
        if (round % 2 === 0) log.markArchived(log.last - (round % 4));
        const reopened = new MessageLog(storage, CAPACITY);
        expect([reopened.last, reopened.oldest, reopened.backlog]).toEqual([log.last, log.oldest, log.backlog]);
        expect(all(reopened)).toEqual(all(log));
      }
    }));

  it("has room for as many messages as it may overwrite (LIM4)", () =>
    withLog((log) => {
      expect(log.room).toBe(CAPACITY);
      append(log, CAPACITY);
      expect([log.room, log.backlog]).toEqual([0, CAPACITY]);
      log.markArchived(3);
      expect([log.room, log.backlog]).toEqual([3, CAPACITY - 3]);
    }));

  it("stores several messages with one statement, also over the ring's seam", () =>
    withLog((log, storage) => {
      append(log, 5);
      log.markArchived(5);
      const payloads = ['"\\ud800"', '"日🦸"', "{}", "[1]", '"\\u0000\\"\\\\"', "null"];
      const exec = vi.spyOn(storage.sql, "exec");
      const kept = log.append({
        action: "message",
        client: '{"socketId":"a"}',
        database: "shop",
        type: null,
        payloads,
      });
      expect(exec.mock.results.map(({ value }) => (value as SqlStorageCursor<never>).rowsWritten)).toEqual([6]);
      exec.mockRestore();
      expect(kept.map(({ seq, payload }) => [seq, payload])).toEqual(payloads.map((text, index) => [6 + index, text]));
      for (const same of [log, new MessageLog(storage, CAPACITY)]) {
        expect(same.last).toBe(11);
        expect([...same.read({ from: 6, to: 11 })]).toEqual(withoutKeys(kept));
      }
    }));

  it("returns the backlog in order and within limits, and never over the ring's seam", () =>
    withLog((log) => {
      const next = (rows: number, text: number) => {
        const batch = log.unarchived(rows, text);
        const seqs = JSON.parse(batch?.rows ?? "[]").map(([seq]: [number]) => seq);
        expect([batch?.count, batch?.last]).toEqual(batch ? [seqs.length, seqs.at(-1)] : [undefined, undefined]);
        return seqs;
      };
      expect(next(100, 100)).toEqual([]);
      const [first] = append(log, 4);
      expect(log.unarchived(100, 100)?.since).toBe(first?.time);
      expect(JSON.parse(log.unarchived(1, 100)?.rows ?? "")).toEqual([
        [1, first?.time, "event", null, null, "0", null],
      ]);
      expect([next(100, 100), next(3, 100), next(100, 2), next(100, 0)]).toEqual([
        [1, 2, 3, 4],
        [1, 2, 3],
        [1, 2],
        [1],
      ]);
      log.markArchived(3);
      append(log, 7);
      expect(next(100, 100)).toEqual([4, 5, 6, 7]);
      log.markArchived(7);
      expect(next(100, 100)).toEqual([8, 9, 10, 11]);
    }));

  it("writes one row per message", () =>
    withLog((log, { sql }) => {
      append(log, CAPACITY);
      log.markArchived(CAPACITY);
      const exec = vi.spyOn(sql, "exec");
      append(log, CAPACITY);
      const cursors = exec.mock.results.map(({ value }) => value as SqlStorageCursor<never>);
      expect(cursors.map(({ rowsWritten }) => rowsWritten)).toEqual(Array.from({ length: CAPACITY }, () => 1));
    }));

  it("never stores a decreasing time, even if the clock steps back (ORD3)", () =>
    withLog((log, storage) => {
      const clock = vi.spyOn(Date, "now");
      try {
        clock.mockReturnValue(2000);
        append(log, 1);
        clock.mockReturnValue(1000);
        expect(append(log, 1)[0]?.time).toBe(2000);
        expect(new MessageLog(storage, CAPACITY).append(MESSAGE)[0]?.time).toBe(2000);
      } finally {
        clock.mockRestore();
      }
    }));

  it("begins where the archive ends", () =>
    withLog((_, storage) => {
      storage.kv.delete("log");
      const log = new MessageLog(storage, CAPACITY);
      expect(log.started).toBe(false);
      const archived = [41, 42].map((seq) => ({
        seq,
        time: 5,
        action: "event" as const,
        client: null,
        database: null,
        type: null,
        payload: "0",
      }));
      log.start(archived);
      for (const same of [log, new MessageLog(storage, CAPACITY)]) {
        expect([same.started, same.oldest, same.last, same.backlog]).toEqual([true, 41, 42, 0]);
      }
      expect([...log.read({ from: 1, to: 99 })]).toEqual(withoutKeys(archived));
      expect(append(log, 1)[0]?.seq).toBe(43);
    }));
});
