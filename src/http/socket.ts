import { Hono } from "hono";
import { ADDRESS_HEADER, IDENTITY_HEADER, PROTOCOL_HEADER } from "../channel/channel.ts";
import type { Env } from "../env.ts";
import { type Fault, FaultError } from "../protocol/errors.ts";
import { addressOf, callerOf, offeredProtocols, SUBPROTOCOL } from "./caller.ts";
import { channelOf, stubOf } from "./request.ts";

/** `GET /channels/{channel}/socket`: a WebSocket straight into the channel's object. */
export const socket = new Hono<{ Bindings: Env }>().get("/channels/:channel/socket", async (c) => {
  const channel = channelOf(c);
  if (c.req.header("Upgrade")?.toLowerCase() !== "websocket") {
    throw new FaultError({ code: "upgrade-required", detail: "Open this address as a WebSocket." });
  }
  // A request of our own: no header of the client's reaches the object, and none can pose as an identity.
  const headers = new Headers({
    Upgrade: "websocket",
    [IDENTITY_HEADER]: encodeURIComponent(JSON.stringify(await callerOf(c, channel))),
    [ADDRESS_HEADER]: addressOf(c),
  });
  // Browsers drop a connection on which none of the subprotocols that they offered was chosen.
  const offered = offeredProtocols(c);
  const chosen = offered.includes(SUBPROTOCOL) ? SUBPROTOCOL : offered[0];
  if (chosen !== undefined) headers.set(PROTOCOL_HEADER, chosen);
  const answer = await stubOf(c, channel).fetch(new Request(c.req.url, { headers }));
  if (answer.status !== 101) throw new FaultError(await answer.json<Fault>());
  return answer;
});
