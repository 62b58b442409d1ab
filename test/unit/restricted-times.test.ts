import { describe, expect, it } from "vitest";
import {
  call,
  channelWithShortLog,
  newDatabase,
  newOpenChannel,
  type Page,
  run,
  seqs,
  stubOf,
  tokenOf,
  walk,
} from "./support.ts";
import { HistoryStore } from "../../src/history/store.ts";
import { env } from "cloudflare:workers";

const COUNT = 40;
const START = Date.UTC(2026, 10, 24);
const isHidden = (seq: number) => seq % 10 > 2;

/** A channel whose restricted messages were sent soon after the visible one before them, or just before the next one. */
function channelWith(held: number, soon: boolean): Promise<string> {
  return channelWithShortLog(COUNT, held, (seq) => {
    const ten = START + Math.floor(seq / 10) * 100;
    if (!isHidden(seq)) return { time: ten + (seq % 10) };
    return { time: ten + (soon ? 2 : 80) + (seq % 10), database: "secret" };
  });
}

async function read(path: string): Promise<Page> {
  const answer = await call("GET", path, undefined, null);
  if (answer.status !== 200) throw new Error(await answer.text());
  return answer.json();
}

/** What an anonymous client sees of a channel, its name left out. */
async function seen(channel: string, query: string): Promise<object[]> {
  const pages = await walk(`/channels/${encodeURIComponent(channel)}/messages?${query}`, read);
  return pages.map(({ seq, next, messages }) => ({
    seq,
    next: next?.replace(/^.*\?/, ""),
    messages: messages.map(({ options }) => [options.seq, options.time]),
  }));
}

const at = (milliseconds: number) => new Date(START + milliseconds).toISOString();

describe("a search by time, and messages that its reader may not see (HIS10)", () => {
  it.each([
    ["in the log", COUNT],
    ["in the log and in D1", 13],
    ["in D1 and, restricted, in the log", 5],
  ])("answers the same whenever they were sent: %s", async (_, held) => {
    const [soon, late] = await Promise.all([channelWith(held, true), channelWith(held, false)]);
    for (const time of [0, 5, 50, 85, 89, 150, 206, 285, 389, 400]) {
      for (const query of [
        `limit=1&until=${at(time)}`,
        `limit=7&until=${at(time)}`,
        `limit=1&since=${at(time)}`,
        `limit=3&after=0&since=${at(time)}`,
        `limit=3&after=0&until=${at(time)}`,
        `limit=5&q=1&since=${at(time)}&until=${at(time + 100)}`,
      ]) {
        expect(await seen(soon, query), query).toEqual(await seen(late, query));
      }
    }
  });

  it("finds the messages that the reader may see, all the same", async () => {
    const channel = await channelWith(13, false);
    const pages = await walk(
      `/channels/${encodeURIComponent(channel)}/messages?limit=4&since=${at(101)}&until=${at(301)}`,
      read,
    );
    expect(pages.flatMap(seqs).toSorted((a, b) => a - b)).toEqual([11, 12, 20, 21, 22, 30]);
  });

  it("shows a user the positions of its own database's messages, and an API key all", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    const rows = run(1, 6).map((seq) => [seq, START + seq, "event", null, seq === 4 ? database : null, "1"]);
    await new HistoryStore(env.DB).append(channel, { rows: JSON.stringify(rows), clients: "[]" });
    const path = `/channels/${encodeURIComponent(channel)}/messages?limit=1&until=${at(5)}`;
    const token = await tokenOf(database, 1);
    for (const key of [token, undefined])
      expect(seqs(await (await call("GET", path, undefined, key)).json())).toEqual([4]);
    expect(await stubOf(channel).locate({ kind: "anonymous" }, [START + 4])).toMatchObject({ value: { visible: [5] } });
  });

  it("reads at most a block of positions to find one that may be seen", async () => {
    const channel = await newOpenChannel();
    const rows = run(1, 2_500).map((seq) => [seq, START + seq, "event", null, seq === 1 ? null : "secret", "1"]);
    await new HistoryStore(env.DB).append(channel, { rows: JSON.stringify(rows), clients: "[]" });
    const store = new HistoryStore(env.DB);
    const times = [START + 2, START + 700, START + 1_500, START + 2_499];
    expect(await store.positionsAt(channel, times, 2_501, { database: null })).toEqual([1_000, 1_000, 2_000, 2_501]);
    expect(await store.positionsAt(channel, times, 2_501, { database: "secret" })).toEqual([2, 700, 1_500, 2_499]);
    expect(await store.positionsAt(channel, times, 2_501)).toEqual([2, 700, 1_500, 2_499]);
  });
});
