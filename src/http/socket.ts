import { Hono } from "hono";
import { decide, type Identity } from "../auth/policy.ts";
import { ADDRESS_HEADER, FRAMES_HEADER, PROTOCOL_HEADER, SOCKET_ID_HEADER } from "../channel/channel.ts";
import { IDENTITY_HEADER, identityHeaderOf } from "../channel/identity-header.ts";
import type { Env } from "../env.ts";
import { type Fault, FaultError, type Result } from "../protocol/errors.ts";
import { SocketQuery, validate } from "../protocol/schemas.ts";
import { SUBPROTOCOL } from "../protocol/subprotocol.ts";
import { admission } from "./admission.ts";
import { addressOf, callerOf, countRequest, offeredProtocols, visitorOf } from "./caller.ts";
import { Multiplexer } from "./multiplexer.ts";
import { faultOf } from "./problem.ts";
import { type AppContext, channelOf, stubOf, unwrap } from "./request.ts";

/**
 * `GET /channels/{channel}/socket`: a WebSocket straight into the channel's object.
 * `GET /rt/{canonical}`: many channels over one WebSocket, as the clients of Xano Realtime open it.
 */
export const socket = new Hono<{ Bindings: Env }>()
  .get("/channels/:channel/socket", async (c) => {
    const channel = channelOf(c);
    const { frames } = unwrap(validate(SocketQuery, c.req.query(), "query"));
    requireUpgrade(c);
    const answer = await openChannel(c, channel, await callerOf(c, channel), {
      [SOCKET_ID_HEADER]: crypto.randomUUID(),
      [FRAMES_HEADER]: frames,
      ...protocolHeader(c),
    });
    if (answer.status !== 101) throw new FaultError(await answer.json<Fault>());
    return answer;
  })
  .get("/rt/:canonical", async (c) => {
    const { REALTIME_CANONICAL } = c.env;
    if (REALTIME_CANONICAL && c.req.param("canonical") !== REALTIME_CANONICAL) return c.notFound();
    requireUpgrade(c);
    const whoFor = visitorOf(c);
    // One id for all channels, so that a private message finds its recipient.
    const id = { [SOCKET_ID_HEADER]: crypto.randomUUID() };
    const open = async (channel: string): Promise<Result<WebSocket>> => {
      const counted = await countRequest(c);
      if (!counted.ok) return counted;
      const who = await whoFor(channel);
      return who.ok ? socketFrom(await openChannel(c, channel, who.value, id)) : who;
    };
    const { 0: client, 1: server } = new WebSocketPair();
    new Multiplexer(server, (channel) =>
      open(channel).catch((error) => ({ ok: false, fault: faultOf(error, { channel }) })),
    ).serve();
    return new Response(null, { status: 101, webSocket: client, headers: protocolHeader(c) });
  });

/**
 * A request of our own to the object: no header of the client's reaches it, and none can pose as an identity. A refusal is a
 * response with the fault as JSON, whether the Worker refuses or the object.
 */
async function openChannel(
  c: AppContext,
  channel: string,
  who: Identity,
  headers: Record<string, string>,
): Promise<Response> {
  const admitted = await admission(c, channel, who, (settings) => decide(who, "subscribe", settings));
  if (!admitted.ok) return Response.json(admitted.fault, { status: 403 });
  const all = {
    Upgrade: "websocket",
    [IDENTITY_HEADER]: identityHeaderOf(who),
    [ADDRESS_HEADER]: addressOf(c),
    ...headers,
  };
  return stubOf(c, channel).fetch(new Request(c.req.url, { headers: all }));
}

async function socketFrom(answer: Response): Promise<Result<WebSocket>> {
  if (!answer.webSocket) return { ok: false, fault: await answer.json<Fault>() };
  return { ok: true, value: answer.webSocket };
}

/** A handshake is a GET (RFC 6455, section 4.1); Hono hands a HEAD to the same route. */
function requireUpgrade(c: AppContext): void {
  if (c.req.method === "GET" && c.req.header("Upgrade")?.toLowerCase() === "websocket") return;
  throw new FaultError({ code: "upgrade-required", detail: "Open this address as a WebSocket." });
}

/** Browsers drop a connection on which none of the subprotocols that they offered was chosen. */
function protocolHeader(c: AppContext): Record<string, string> {
  const offered = offeredProtocols(c);
  const chosen = offered.includes(SUBPROTOCOL) ? SUBPROTOCOL : offered[0];
  return chosen === undefined ? {} : { [PROTOCOL_HEADER]: chosen };
}
