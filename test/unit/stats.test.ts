import { runDurableObjectAlarm } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { LOG_CAPACITY } from "../../src/protocol/limits.ts";
import {
  call,
  channelWithShortLog,
  connect,
  join,
  newChannel,
  newDatabase,
  newOpenChannel,
  publish,
  stubOf,
  tokenOf,
  whileAway,
} from "./support.ts";

interface Stats {
  seq: number;
  archived: number;
  backlog: number;
  minutes: { time: string; messages: number | null }[];
}

const MINUTE = 60_000;
const statsPath = (channel: string) => `/channels/${encodeURIComponent(channel)}/stats`;

async function stats(channel: string): Promise<Stats> {
  const answer = await call("GET", statsPath(channel));
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Five messages in each minute of the last 100, and some more in this one. */
const channelOfSomeAge = (held: number) => {
  const thisMinute = Math.floor(Date.now() / MINUTE) * MINUTE;
  return channelWithShortLog(500, held, (seq) => ({ time: thisMinute - (100 - Math.floor((seq - 1) / 5)) * MINUTE }));
};

/** The minutes that had messages, how many each; the tests may run into the next one. */
const counted = ({ minutes }: Stats) => minutes.slice(2, -2).map(({ messages }) => messages);

describe("a channel's stats (STA)", () => {
  it("report on its log, its archive and its sockets (STA1)", async () => {
    const channel = await newOpenChannel();
    await connect(channel);
    await join(channel);
    for (const n of [1, 2, 3]) await publish(channel, n);
    await runDurableObjectAlarm(stubOf(channel));
    await publish(channel, 4);
    expect(await stats(channel)).toMatchObject({
      channel,
      seq: 4,
      archived: 3,
      backlog: 1,
      capacity: LOG_CAPACITY,
      sockets: 2,
      joined: 1,
    });
  });

  it("count the messages of each of the last 60 minutes, the current one last (STA2)", async () => {
    const before = Date.now();
    const channel = newChannel();
    for (const n of [1, 2, 3]) await publish(channel, n);
    const { minutes } = await stats(channel);
    expect(minutes).toHaveLength(60);
    const times = minutes.map(({ time }) => Date.parse(time));
    expect(times.every((time, index) => index === 0 || time - (times[index - 1] ?? 0) === MINUTE)).toBe(true);
    expect(times.at(-1)).toBeGreaterThan(before - MINUTE);
    expect(minutes.reduce((sum, { messages }) => sum + (messages ?? 0), 0)).toBe(3);
    expect(minutes.slice(0, -2).every(({ messages }) => messages === 0)).toBe(true);
  });

  it.each([500, 400, 100, 1])(
    "count messages that only the archive holds, too: with %d messages in the log (STA2)",
    async (held) => {
      const channel = await channelOfSomeAge(held);
      expect(counted(await stats(channel))).toEqual(Array.from({ length: 56 }, () => 5));
    },
  );

  it("are available while D1 is down; values that only D1 has are null (STA2)", async () => {
    const channel = await channelOfSomeAge(100);
    const minutes = counted(await whileAway("messages", () => stats(channel)));
    const known = minutes.findIndex((messages) => messages !== null);
    expect(minutes.slice(0, known)).toEqual(Array.from({ length: known }, () => null));
    expect(minutes.slice(known)).toEqual(Array.from({ length: 56 - known }, () => 5));
    expect(known).toBeGreaterThan(30);
    expect(known).toBeLessThan(42);
  });

  it("are for API-key clients only (AUT1, STA1)", async () => {
    const database = await newDatabase();
    const channel = await newOpenChannel({ database });
    for (const key of [null, await tokenOf(database, 42)]) {
      expect((await call("GET", statsPath(channel), undefined, key)).status).toBe(401);
    }
  });

  it("are all zeros for a channel without messages, and an invalid name is refused", async () => {
    expect(await stats(newChannel())).toMatchObject({ seq: 0, archived: 0, backlog: 0, sockets: 0, joined: 0 });
    expect((await call("GET", statsPath("room/*"))).status).toBe(400);
  });
});
