import { Hono } from "hono";
import { authorize } from "../auth/policy.ts";
import type { Env } from "../env.ts";
import { PresenceQuery } from "../protocol/queries.ts";
import { validate } from "../protocol/validate.ts";
import { admission } from "./admission.ts";
import { callerOf } from "./caller.ts";
import { channelOf, stubOf, unwrap } from "./request.ts";

/** `GET /channels/{channel}/presence`: the members, at most `limit` of them, and their total. */
export const presence = new Hono<{ Bindings: Env }>().get("/channels/:channel/presence", async (c) => {
  const channel = channelOf(c);
  const { limit } = unwrap(validate(PresenceQuery, c.req.query(), "query"));
  const who = await callerOf(c, channel);
  unwrap(await admission(c, channel, who, (settings) => authorize(who, "presence", settings)));
  const members = unwrap(await stubOf(c, channel).presence(who, limit));
  c.header("Content-Type", "application/json");
  return c.body(members);
});
