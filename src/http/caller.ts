import { isApiKey, NO_AUTH_DATABASE, userOf } from "../auth/identity.ts";
import type { Identity } from "../auth/policy.ts";
import { FaultError, refuse, type Result } from "../protocol/errors.ts";
import { SUBPROTOCOL } from "../protocol/subprotocol.ts";
import { networkOf } from "./address.ts";
import type { AppContext } from "./request.ts";

const BEARER = /^Bearer +([\x21-\x7e]+) *$/i;
/** The period of the rate limit in wrangler.toml, in seconds. */
const RATE_PERIOD_S = 10;

/**
 * Who is asking. Credentials that are there but wrong are refused, never taken for none: a caller with a mistyped key
 * must not go on as a stranger.
 *
 * @param channel The channel that a token is shown to; without one, only an API key is taken.
 */
export async function callerOf(c: AppContext, channel?: string): Promise<Identity> {
  const shown = shownBy(c);
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
export function visitorOf(c: AppContext): (channel: string) => Promise<Result<Identity>> {
  const shown = shownBy(c);
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

/**
 * Counts a request, or a call that it makes necessary, against its address, unless it shows a valid API key. To be called
 * before any work is done for it, also with credentials that are yet to be verified. Returns the refusal of an address that
 * has used up its requests (LIM7).
 */
export async function countRequest(c: AppContext): Promise<Result<null>> {
  if (showsApiKey(c)) return COUNTED;
  const { success } = await c.env.STRANGERS.limit({ key: addressOf(c) });
  if (success) return COUNTED;
  return refuse("rate-limited", "There are too many requests from this address.", { retryAfter: RATE_PERIOD_S });
}

/** What a caller shows for itself: an API key or nothing, which says who it is, or else a token. */
function shownBy(c: AppContext): Identity | string {
  if (showsApiKey(c)) return { kind: "server" };
  const credential = credentialOf(c);
  if (credential === undefined && c.req.header("Authorization") !== undefined) {
    reject("Send credentials as Authorization: Bearer <API key or token>.");
  }
  return credential ?? { kind: "anonymous" };
}

function showsApiKey(c: AppContext): boolean {
  const credential = credentialOf(c);
  return credential !== undefined && isApiKey(credential, c.env.API_KEYS);
}

/** The credential that a request shows, undefined if it shows none or one that is malformed. */
function credentialOf(c: AppContext): string | undefined {
  const authorization = c.req.header("Authorization");
  if (authorization === undefined) return offeredProtocols(c).find((name) => name !== SUBPROTOCOL);
  return BEARER.exec(authorization)?.[1];
}

function reject(detail: string): never {
  throw new FaultError({ code: "unauthorized", detail, field: "Authorization" });
}

const COUNTED = { ok: true, value: null } as const;
