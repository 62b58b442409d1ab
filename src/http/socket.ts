import { Hono } from "hono";
import { authorize, type Identity } from "../auth/policy.ts";
import { ADDRESS_HEADER, FRAMES_HEADER, PROTOCOL_HEADER, SOCKET_ID_HEADER } from "../channel/channel-object.ts";
import { IDENTITY_HEADER, identityHeaderOf } from "../channel/identity-header.ts";
import type { Env } from "../env.ts";
import { type Fault, FaultError, type Result } from "../protocol/errors.ts";
import { SocketQuery } from "../protocol/queries.ts";
import { validate } from "../protocol/validate.ts";
import { SUBPROTOCOL } from "../protocol/subprotocol.ts";
import { admission } from "./admission.ts";
import { addressOf, callerOf, countRequest, offeredProtocols, identityResolver } from "./caller.ts";
import { Multiplexer } from "../adapters/xano/multiplexer.ts";
import { faultOf } from "./problem.ts";
import { type AppContext, channelOf, stubOf, unwrap } from "./request.ts";

/**
 * `GET /channels/{channel}/socket` opens a WebSocket to the channel's object. `GET /socket` opens a WebSocket for many
 * channels, and so does `GET /rt/{canonical}`, for Xano Realtime's clients.
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
  .get("/socket", (c) => openMultiplexed(c))
  .get("/rt/:canonical", async (c) => {
    const { REALTIME_CANONICAL } = c.env;
    if (REALTIME_CANONICAL && c.req.param("canonical") !== REALTIME_CANONICAL) return c.notFound();
    return openMultiplexed(c);
  });

/** Opens a WebSocket for many channels, which ends in this Worker. */
function openMultiplexed(c: AppContext): Response {
  const { frames } = unwrap(validate(SocketQuery, c.req.query(), "query"));
  requireUpgrade(c);
  const { isServer, whoFor } = identityResolver(c);
  // The socket has the same id on all channels, so that a private message finds its recipient.
  const headers = { [SOCKET_ID_HEADER]: crypto.randomUUID(), [FRAMES_HEADER]: frames };
  const open = async (channel: string): Promise<Result<WebSocket>> => {
    const counted = await countRequest(c);
    if (!counted.ok) return counted;
    const who = await whoFor(channel);
    return who.ok ? socketFrom(await openChannel(c, channel, who.value, headers)) : who;
  };
  const { 0: client, 1: server } = new WebSocketPair();
  new Multiplexer(
    server,
    (channel) => open(channel).catch((error) => ({ ok: false, fault: faultOf(error, { channel }) })),
    { isBatch: frames === "batch", isServer },
  ).serve();
  return new Response(null, { status: 101, webSocket: client, headers: protocolHeader(c) });
}

/**
 * Opens a socket to a channel object, by a new request. No header of the client's reaches the object, so no client can
 * forge an identity. A refusal, by the Worker or by the object, is a response with the fault as JSON.
 */
async function openChannel(
  c: AppContext,
  channel: string,
  who: Identity,
  headers: Record<string, string>,
): Promise<Response> {
  const admitted = await admission(c, channel, who, (settings) => authorize(who, "subscribe", settings));
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

/**
 * Throws `upgrade-required` unless the request is a WebSocket upgrade. A handshake is a GET (RFC 6455, section 4.1),
 * but Hono also routes HEAD requests here.
 */
function requireUpgrade(c: AppContext): void {
  if (c.req.method === "GET" && c.req.header("Upgrade")?.toLowerCase() === "websocket") return;
  throw new FaultError({
    code: "upgrade-required",
    detail: "This address accepts only WebSocket connections. Open it with a WebSocket client.",
  });
}

/**
 * Returns the header with the selected subprotocol. Browsers fail a connection if the server selects none of the
 * subprotocols that they offered.
 */
function protocolHeader(c: AppContext): Record<string, string> {
  const offered = offeredProtocols(c);
  const chosen = offered.includes(SUBPROTOCOL) ? SUBPROTOCOL : offered[0];
  return chosen === undefined ? {} : { [PROTOCOL_HEADER]: chosen };
}
