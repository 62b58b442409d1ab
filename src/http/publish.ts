import { Hono } from "hono";
import type { Env } from "../env.ts";
import { isoTime } from "../protocol/frames.ts";
import { PublishRequest } from "../protocol/schemas.ts";
import { identityOf, jsonBody, stubOf, unwrap } from "./request.ts";

/** `POST /message`: stores a message, delivers it, and answers once it is stored. */
export const publish = new Hono<{ Bindings: Env }>().post("/message", async (c) => {
  const who = await identityOf(c);
  const { channel, message } = await jsonBody(c, PublishRequest);
  const [stored] = unwrap(await stubOf(c, channel).publish(who, [JSON.stringify(message)]));
  if (!stored) throw new Error("publish stored nothing");
  return c.json({ channel, seq: stored.seq, time: isoTime(stored.time) }, 201);
});
