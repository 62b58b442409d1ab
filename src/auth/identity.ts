import { FaultError } from "../protocol/errors.ts";
import type { Identity } from "./policy.ts";

const BEARER = /^Bearer +([\x21-\x7e]+) *$/i;

/**
 * Turns a request's credentials into an identity. Credentials that are there but wrong are refused, never taken for
 * none: a caller with a mistyped key must not go on as a stranger.
 *
 * @param apiKeys The secret `API_KEYS`: comma-separated, so that a new key can be added before the old one goes.
 */
export async function identify(headers: Headers, apiKeys: string | undefined): Promise<Identity> {
  const authorization = headers.get("Authorization");
  if (authorization === null) return { kind: "anonymous" };
  const key = BEARER.exec(authorization)?.[1];
  if (key !== undefined && (await isApiKey(key, apiKeys ?? ""))) return { kind: "server" };
  throw new FaultError({ code: "unauthorized", detail: "The API key is not valid.", field: "Authorization" });
}

/** Compares digests, in constant time and with every key, so that time tells nothing about any of them. */
async function isApiKey(candidate: string, apiKeys: string): Promise<boolean> {
  const keys = apiKeys
    .split(",")
    .map((key) => key.trim())
    .filter((key) => key !== "");
  const digest = await sha256(candidate);
  const matches = await Promise.all(keys.map(async (key) => crypto.subtle.timingSafeEqual(digest, await sha256(key))));
  return matches.includes(true);
}

function sha256(text: string): Promise<ArrayBuffer> {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}
