import { Hono } from "hono";
import { decide } from "../auth/policy.ts";
import type { Env } from "../env.ts";
import { PresenceQuery, validate } from "../protocol/schemas.ts";
import { admission } from "./admission.ts";
import { callerOf } from "./caller.ts";
import { channelOf, stubOf, unwrap } from "./request.ts";

/** `GET /channels/{channel}/presence`: who is connected, as many as asked for, and how many there are. */
export const presence = new Hono<{ Bindings: Env }>().get("/channels/:channel/presence", async (c) => {
  const channel = channelOf(c);
  const { limit } = unwrap(validate(PresenceQuery, c.req.query(), "query"));
  const who = await callerOf(c, channel);
  unwrap(await admission(c, channel, who, (settings) => decide(who, "presence", settings)));
  const members = unwrap(await stubOf(c, channel).presence(who, limit));
  c.header("Content-Type", "application/json");
  return c.body(members);
});
