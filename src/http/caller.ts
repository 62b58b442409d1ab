import { isApiKey, NO_AUTH_DATABASE, userOf } from "../auth/identity.ts";
import type { Identity } from "../auth/policy.ts";
import { FaultError, refuse, type Result } from "../protocol/errors.ts";
import { SUBPROTOCOL } from "../protocol/subprotocol.ts";
import { networkOf } from "./address.ts";
import type { AppContext } from "./request.ts";

const BEARER = /^Bearer +([\x21-\x7e]+) *$/i;
/** The period of the rate limit in wrangler.toml. */
const RATE_PERIOD_SECONDS = 10;

/**
 * Returns the caller's identity. Throws `unauthorized` for invalid credentials, so that a caller with a mistyped key
 * does not continue as an anonymous client.
 *
 * @param channel The channel whose auth database verifies a token. Without it, only an API key is accepted.
 */
export async function callerOf(c: AppContext, channel?: string): Promise<Identity> {
  const credential = identityOrToken(c);
  if (typeof credential !== "string") return credential;
  if (channel === undefined) reject("The API key is not valid.");
  const user = await userOf(credential, channel, c.env);
  if (!user.ok) throw new FaultError({ field: "Authorization", ...user.fault });
  return user.value;
}

/**
 * Returns how to find the caller's identity on a channel, for a connection to many channels. Its credential
 * may be meant for other channels, so a token is ignored on channels without an auth database.
 */
export function identityResolver(c: AppContext): {
  /** Whether the caller is an API-key client, on all channels. */
  isServer: boolean;
  whoFor: (channel: string) => Promise<Result<Identity>>;
} {
  const credential = identityOrToken(c);
  const isServer = typeof credential !== "string" && credential.kind === "server";
  const whoFor = async (channel: string): Promise<Result<Identity>> => {
    if (typeof credential !== "string") return { ok: true, value: credential };
    const user = await userOf(credential, channel, c.env);
    return user === NO_AUTH_DATABASE ? { ok: true, value: { kind: "anonymous" } } : user;
  };
  return { isServer, whoFor };
}

/** Throws `unauthorized` unless the caller is an API-key client. */
export async function requireApiKey(c: AppContext): Promise<void> {
  if ((await callerOf(c)).kind !== "server")
    reject("This request needs an API key. Send it as Authorization: Bearer <API key>.");
}

/** Returns the caller's address as limits count it. Cloudflare sets the header. */
export function addressOf(c: AppContext): string {
  return networkOf(c.req.header("CF-Connecting-IP") ?? "");
}

/**
 * Returns the subprotocols that a client offers. One of them may be a credential, because browsers cannot send one with
 * a WebSocket in any other way.
 */
export function offeredProtocols(c: AppContext): string[] {
  const header = c.req.header("Sec-WebSocket-Protocol") ?? "";
  return header.split(",").flatMap((name) => name.trim() || []);
}

/**
 * Counts a request, or a call that it causes, against its address, unless it has a valid API key. Call it before doing
 * any work for the request, even if its credentials are not verified yet.
 *
 * @returns The refusal, if the address has used up its requests (LIM7).
 */
export async function countRequest(c: AppContext): Promise<Result<null>> {
  if (hasApiKey(c)) return COUNTED;
  const { success } = await c.env.RATE_LIMITER.limit({ key: addressOf(c) });
  if (success) return COUNTED;
  return refuse("rate-limited", `This address has sent too many requests. Try again in ${RATE_PERIOD_SECONDS} s.`, {
    retryAfter: RATE_PERIOD_SECONDS,
  });
}

/** Returns the caller's identity if it sent an API key or nothing, otherwise its token. */
function identityOrToken(c: AppContext): Identity | string {
  if (hasApiKey(c)) return { kind: "server" };
  const credential = credentialOf(c);
  if (credential === undefined && c.req.header("Authorization") !== undefined) {
    reject("The header Authorization is malformed. Send Authorization: Bearer <API key or token>.");
  }
  return credential ?? { kind: "anonymous" };
}

function hasApiKey(c: AppContext): boolean {
  const credential = credentialOf(c);
  return credential !== undefined && isApiKey(credential, c.env.API_KEYS);
}

/** Returns the credential of a request, undefined if there is none or it is malformed. */
function credentialOf(c: AppContext): string | undefined {
  const authorization = c.req.header("Authorization");
  if (authorization === undefined) return offeredProtocols(c).find((name) => name !== SUBPROTOCOL);
  return BEARER.exec(authorization)?.[1];
}

function reject(detail: string): never {
  throw new FaultError({ code: "unauthorized", detail, field: "Authorization" });
}

const COUNTED = { ok: true, value: null } as const;
