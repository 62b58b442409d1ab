import { Hono } from "hono";
import type { ChannelState } from "../channel/channel.ts";
import { askD1 } from "../ask-d1.ts";
import { withDeadline } from "../channel/deadline.ts";
import type { Env } from "../env.ts";
import { HistoryStore } from "../history/store.ts";
import { completePositions, isOpen } from "../history/times.ts";
import { isoTime } from "../protocol/frames.ts";
import { requireServer } from "./caller.ts";
import { channelOf, stubOf, unwrap } from "./request.ts";

const MINUTE = 60_000;
/** How far back messages are counted, in minutes. */
const MINUTES = 60;
/** How long D1 may take to tell of minutes that the log does not reach, in milliseconds. */
const READ_DEADLINE = 3_000;

/**
 * `GET /channels/{channel}/stats`: how a channel is doing, and its messages in each of the last 60 minutes, the current
 * one last. Nothing is counted while messages pass: where minutes begin is found by their times. For the server side only.
 */
export const stats = new Hono<{ Bindings: Env }>().get("/channels/:channel/stats", async (c) => {
  await requireServer(c);
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

/** When each of the latest minutes began, in milliseconds since the epoch. */
function latestMinutes(now: number): number[] {
  const current = Math.floor(now / MINUTE);
  return Array.from({ length: MINUTES }, (_, index) => (current - MINUTES + 1 + index) * MINUTE);
}

/** The first position of each minute; null where only the archive knows and it does not answer. */
async function beginsOf(
  channel: string,
  minutes: number[],
  state: ChannelState,
  store: HistoryStore,
): Promise<(number | null)[]> {
  const found = await askD1(() => withDeadline(READ_DEADLINE, completePositions(channel, minutes, state, store)), {
    route: "/channels/:channel/stats",
  });
  return found.ok ? found.value : state.positions.map((position) => (isOpen(position, state.oldest) ? null : position));
}

function difference(begin: number | null | undefined, end: number | null | undefined): number | null {
  return typeof begin === "number" && typeof end === "number" ? end - begin : null;
}
