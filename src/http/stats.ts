import { Hono } from "hono";
import type { ChannelState } from "../channel/channel-object.ts";
import { tryD1 } from "../shared/try-d1.ts";
import { withDeadline } from "../shared/deadline.ts";
import type { Env } from "../env.ts";
import { HistoryStore } from "../archive/store.ts";
import { completePositions, needsArchive } from "../archive/times.ts";
import { isoTime } from "../protocol/frames.ts";
import { requireApiKey } from "./caller.ts";
import { channelOf, stubOf, unwrap } from "./request.ts";

const MINUTE_MS = 60_000;
/** The number of minutes for which messages are counted. */
const MINUTES = 60;
/** The time limit for D1 to find the minutes that are no longer in the log. */
const STATS_TIMEOUT_MS = 3_000;

/**
 * `GET /channels/{channel}/stats`: a channel's state, and the number of its messages in each of the last 60 minutes,
 * the current one last. For API-key clients only. Publishing counts nothing: the beginning of each minute is found by
 * the times of the messages.
 */
export const stats = new Hono<{ Bindings: Env }>().get("/channels/:channel/stats", async (c) => {
  await requireApiKey(c);
  const channel = channelOf(c);
  const minutes = latestMinutes(Date.now());
  const state = unwrap(await stubOf(c, channel).state(minutes));
  const begins = await beginsOf(channel, minutes, state, new HistoryStore(c.env.DB));
  return c.json({
    channel,
    seq: state.last,
    archived: state.archived,
    backlog: state.backlog,
    capacity: state.capacity,
    sockets: state.sockets,
    joined: state.joined,
    minutes: minutes.map((time, index) => ({
      time: isoTime(time),
      messages: difference(begins[index], index + 1 < MINUTES ? begins[index + 1] : state.last + 1),
    })),
  });
});

/** Returns the beginning of each of the latest minutes, in milliseconds since the epoch. */
function latestMinutes(now: number): number[] {
  const current = Math.floor(now / MINUTE_MS);
  return Array.from({ length: MINUTES }, (_, index) => (current - MINUTES + 1 + index) * MINUTE_MS);
}

/** Returns the first position of each minute, null if only the archive has it and does not answer. */
async function beginsOf(
  channel: string,
  minutes: number[],
  state: ChannelState,
  store: HistoryStore,
): Promise<(number | null)[]> {
  const found = await tryD1(() => withDeadline(STATS_TIMEOUT_MS, completePositions(channel, minutes, state, store)), {
    route: "/channels/:channel/stats",
  });
  return found.ok
    ? found.value
    : state.positions.map((position) => (needsArchive(position, state.oldest) ? null : position));
}

function difference(begin: number | null | undefined, end: number | null | undefined): number | null {
  return typeof begin === "number" && typeof end === "number" ? end - begin : null;
}
