import { Hono } from "hono";
import { IDENTITY_HEADER, PROTOCOL_HEADER } from "../channel/channel.ts";
import type { Env } from "../env.ts";
import { type Fault, FaultError } from "../protocol/errors.ts";
import { channelOf, identityOf, stubOf } from "./request.ts";

const SUBPROTOCOL = "durable-channels.v1";

/** `GET /channels/{channel}/socket`: a WebSocket straight into the channel's object. */
export const socket = new Hono<{ Bindings: Env }>().get("/channels/:channel/socket", async (c) => {
  const channel = channelOf(c);
  if (c.req.header("Upgrade")?.toLowerCase() !== "websocket") {
    throw new FaultError({ code: "upgrade-required", detail: "Open this address as a WebSocket." });
  }
  // A request of our own: no header of the client's reaches the object, and none can pose as an identity.
  const headers = new Headers({ Upgrade: "websocket", [IDENTITY_HEADER]: JSON.stringify(await identityOf(c)) });
  // Browsers drop a connection on which none of the subprotocols that they offered was chosen.
  const offered = c.req.header(PROTOCOL_HEADER)?.split(",") ?? [];
  if (offered.some((name) => name.trim() === SUBPROTOCOL)) headers.set(PROTOCOL_HEADER, SUBPROTOCOL);
  const answer = await stubOf(c, channel).fetch(new Request(c.req.url, { headers }));
  if (answer.status !== 101) throw new FaultError(await answer.json<Fault>());
  return answer;
});
