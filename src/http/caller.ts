import { isApiKey, NO_AUTH_DATABASE, userOf } from "../auth/identity.ts";
import type { Identity } from "../auth/policy.ts";
import { FaultError, type Result } from "../protocol/errors.ts";
import { SUBPROTOCOL } from "../protocol/subprotocol.ts";
import { networkOf } from "./address.ts";
import type { AppContext } from "./request.ts";

const BEARER = /^Bearer +([\x21-\x7e]+) *$/i;
/** The period of the rate limit in wrangler.toml, in seconds. */
const RATE_PERIOD = 10;

/**
 * Who is asking. Credentials that are there but wrong are refused, never taken for none: a caller with a mistyped key
 * must not go on as a stranger.
 *
 * @param channel The channel that a token is shown to; without one, only an API key is taken.
 */
export async function callerOf(c: AppContext, channel?: string): Promise<Identity> {
  const shown = await shownBy(c);
  if (typeof shown !== "string") return shown;
  if (channel === undefined) reject("The API key is not valid.");
  const user = await userOf(shown, channel, c.env);
  if (!user.ok) throw new FaultError({ field: "Authorization", ...user.fault });
  return user.value;
}

/**
 * Who is asking over a connection that is not one channel's. Its credential may be meant for others: where a channel has
 * no auth database, a token does not count.
 */
export async function visitorOf(c: AppContext): Promise<(channel: string) => Promise<Result<Identity>>> {
  const shown = await shownBy(c);
  return async (channel) => {
    if (typeof shown !== "string") return { ok: true, value: shown };
    const user = await userOf(shown, channel, c.env);
    return user === NO_AUTH_DATABASE ? { ok: true, value: { kind: "anonymous" } } : user;
  };
}

/** Only the server side may go on. */
export async function requireServer(c: AppContext): Promise<void> {
  if ((await callerOf(c)).kind !== "server") reject("This is for the server side: send an API key.");
}

/** Returns the caller's address as limits count it, from the one that Cloudflare sees. */
export function addressOf(c: AppContext): string {
  return networkOf(c.req.header("CF-Connecting-IP") ?? "");
}

/** The subprotocols that a client offers. Browsers can send a credential with a WebSocket in no other way. */
export function offeredProtocols(c: AppContext): string[] {
  const header = c.req.header("Sec-WebSocket-Protocol") ?? "";
  return header.split(",").flatMap((name) => name.trim() || []);
}

/** What a caller shows for itself: an API key or nothing, which says who it is, or else a token. */
async function shownBy(c: AppContext): Promise<Identity | string> {
  const credential = credentialOf(c);
  if (credential !== undefined && isApiKey(credential, c.env.API_KEYS)) return { kind: "server" };
  await limitRate(c);
  return credential ?? { kind: "anonymous" };
}

function credentialOf(c: AppContext): string | undefined {
  const authorization = c.req.header("Authorization");
  if (authorization === undefined) return offeredProtocols(c).find((name) => name !== SUBPROTOCOL);
  const credential = BEARER.exec(authorization)?.[1];
  if (credential === undefined) reject("Send credentials as Authorization: Bearer <API key or token>.");
  return credential;
}

async function limitRate(c: AppContext): Promise<void> {
  const { success } = await c.env.STRANGERS.limit({ key: addressOf(c) });
  if (success) return;
  const detail = "There are too many requests from this address.";
  throw new FaultError({ code: "rate-limited", detail, retryAfter: RATE_PERIOD });
}

function reject(detail: string): never {
  throw new FaultError({ code: "unauthorized", detail, field: "Authorization" });
}
