import { createLocalJWKSet, errors, type JWTPayload, jwtVerify, SignJWT } from "jose";
import * as v from "valibot";
import type { Env } from "../env.ts";
import { logFailure } from "../shared/logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { isLongerThan, jsonFault } from "../protocol/json.ts";
import { MAX_EXTRAS_BYTES, MAX_JSON_DEPTH, MAX_TOKEN_CHARACTERS } from "../protocol/limits.ts";
import { type AuthDatabase, type TokenRequest } from "../protocol/auth-database.ts";
import { UserId } from "../protocol/values.ts";
import { audienceFault, defaultAudienceOf } from "./audience.ts";
import type { VerifyingDatabase } from "../settings/databases.ts";
import { type KeySet, KeySetError, keySetAt } from "./key-sets.ts";
import type { User } from "./policy.ts";
import { isRevoked, REVOKED } from "../settings/revocations.ts";

/** The largest difference between the issuer's clock and this one. */
const CLOCK_SKEW_SECONDS = 5;
/** The smallest key for HS256: a key shorter than the hash weakens it (RFC 7518, section 3.2). */
const MIN_SECRET_BYTES = 32;
/** The seconds after which to repeat a request if its token could not be verified. */
const RETRY_AFTER_SECONDS = 5;

/** The latest expiry of a token, in milliseconds since the epoch: the runtime sets no alarm for a later time. */
const LATEST_EXPIRY_MS = Date.UTC(2189);

/** The Worker's bindings, in which secrets are looked up. */
export type Secrets = object;

/** The names of the bindings that are text. */
type TextBinding = { [K in keyof Env]-?: Env[K] extends string | undefined ? K : never }[keyof Env];

/** Bindings that must not be used as a token secret: their texts are public, or are credentials themselves. */
const NO_SECRETS: Record<TextBinding, true> = {
  API_KEYS: true,
  ALLOWED_ORIGINS: true,
  REALTIME_CANONICAL: true,
  LOCAL_HOSTS: true,
};

/** The claims that are times, in seconds since the epoch (RFC 7519, section 2). */
const TIME_CLAIMS = ["exp", "nbf", "iat"] as const;
const NumericDate = v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER)));

/** Returns the user of a token, or the refusal of the token. */
export async function verifyToken(
  token: string,
  name: string,
  database: VerifyingDatabase,
  secrets: Secrets,
): Promise<Result<User>> {
  if (token.length > MAX_TOKEN_CHARACTERS) {
    return refuse(
      "unauthorized",
      `A token may have at most ${MAX_TOKEN_CHARACTERS} characters; this one has ${token.length}.`,
      { limit: MAX_TOKEN_CHARACTERS },
    );
  }
  try {
    return userOf(await claimsOf(token, database, secrets), name, database);
  } catch (error) {
    if (error instanceof errors.JOSEError) {
      // Texts are chosen by jose's error codes, so that nothing of the token's content is sent back.
      return refuse("unauthorized", REASONS[error.code] ?? "The token is not valid for this channel.");
    }
    // key-sets.ts has logged a failed fetch already, once for all tokens.
    if (!(error instanceof KeySetError)) logFailure("token not verifiable", error, { database: name });
    return refuse(
      "unavailable",
      "The token cannot be verified: its auth database's keys are not available. Try again in 5 s.",
      { retryAfter: RETRY_AFTER_SECONDS },
    );
  }
}

const REASONS: Record<string, string> = {
  ERR_JWT_EXPIRED: "The token has expired. Get a new one.",
  ERR_JOSE_ALG_NOT_ALLOWED: "The token's algorithm is not the algorithm of the channel's auth database.",
  ERR_JWT_CLAIM_VALIDATION_FAILED:
    "The token's iss, aud, exp or nbf is missing or not what the channel's auth database requires.",
  ERR_JWKS_NO_MATCHING_KEY: "The token's key is not in the key set of the channel's auth database.",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED:
    "The token's signature is not valid for the key of the channel's auth database.",
};

class MisconfiguredError extends Error {}

/**
 * Returns the claims of a verified token. The algorithm comes from the database's configuration, never from the token.
 */
async function claimsOf(token: string, database: AuthDatabase, secrets: Secrets): Promise<JWTPayload> {
  const { issuer, audience, algorithm } = database;
  const expected = {
    clockTolerance: CLOCK_SKEW_SECONDS,
    requiredClaims: ["exp"],
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  };
  if (database.secret !== undefined) {
    const key = secretKey(database.secret, secrets);
    return (await jwtVerify(token, key, { ...expected, algorithms: ["HS256"] })).payload;
  }
  return (await jwtVerify(token, keySetOf(database), { ...expected, algorithms: [algorithm] })).payload;
}

function keySetOf({ jwks, jwks_url: address }: AuthDatabase): KeySet {
  if (jwks) return createLocalJWKSet(jwks);
  if (address === undefined) throw new MisconfiguredError("the database has no keys");
  return keySetAt(address);
}

function secretKey(secret: string, secrets: Secrets): Uint8Array {
  const value = Object.hasOwn(NO_SECRETS, secret) ? undefined : (secrets as Record<string, unknown>)[secret];
  const key = new TextEncoder().encode(typeof value === "string" ? value : "");
  if (key.length >= MIN_SECRET_BYTES) return key;
  throw new MisconfiguredError(`the Worker has no secret ${secret} of at least ${MIN_SECRET_BYTES} bytes`);
}

function userOf(claims: JWTPayload, name: string, database: VerifyingDatabase): Result<User> {
  const wrongTime = TIME_CLAIMS.find((claim) => !v.is(NumericDate, claims[claim]));
  if (wrongTime !== undefined) {
    const detail = `The token's ${wrongTime} must be a number of seconds from 0 to ${Number.MAX_SAFE_INTEGER}.`;
    return refuse("unauthorized", detail, { limit: Number.MAX_SAFE_INTEGER });
  }
  if (database.audience === undefined) {
    const fault = audienceFault(claims, name, database.sharesKeys ?? true);
    if (fault !== undefined) return refuse("unauthorized", fault);
  }
  const id = v.safeParse(UserId, canonicalId(ownClaim(claims, database.id_claim)));
  if (!id.success)
    return refuse(
      "unauthorized",
      `The token's claim ${database.id_claim} must be a user id: a whole number from 1 to 2^53 - 1, or 1 to 128 visible ASCII characters.`,
    );
  const extras = database.extras_claim === undefined ? {} : (ownClaim(claims, database.extras_claim) ?? {});
  if (!isExtras(extras)) {
    const detail = `The token's claim ${database.extras_claim} must be an object of at most ${MAX_EXTRAS_BYTES} bytes as JSON, nested at most ${MAX_JSON_DEPTH} levels deep.`;
    return refuse("unauthorized", detail, { limit: MAX_EXTRAS_BYTES });
  }
  const expires = Math.min(Math.floor(claims.exp ?? 0) * 1000, LATEST_EXPIRY_MS);
  const issued = claims.iat === undefined ? undefined : Math.floor(claims.iat) * 1000;
  const { dbo_id } = database;
  const user = { kind: "user" as const, database: name, dbo_id, row_id: id.output, extras, expires, issued };
  return isRevoked(user, database.revocations) ? REVOKED : { ok: true, value: user };
}

/** Returns a claim of the token, but no property that every object inherits. */
function ownClaim(claims: JWTPayload, claim: string): unknown {
  return Object.hasOwn(claims, claim) ? claims[claim] : undefined;
}

/** Whether a value is an object within the limits of `extras`. */
function isExtras(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return !jsonFault(value) && !isLongerThan(JSON.stringify(value), MAX_EXTRAS_BYTES);
}

/**
 * Returns a user's id in its canonical form. A JWT's `sub` is always text (RFC 7519, section 4.1.2), but the ids of
 * table rows are numbers. So the digits of a row id become that number, and no two users have ids that look the same.
 */
export function canonicalId(claim: unknown): unknown {
  if (typeof claim !== "string" || !/^[1-9]\d{0,15}$/.test(claim)) return claim;
  return Number.isSafeInteger(Number(claim)) ? Number(claim) : claim;
}

/**
 * Makes a token for a user of a database that has a secret.
 *
 * @param name The database's name.
 * @returns The token and its expiry, in milliseconds since the epoch.
 */
export async function mintToken(
  { id, extras, expires_in }: v.InferOutput<typeof TokenRequest>,
  name: string,
  database: AuthDatabase,
  secrets: Secrets,
): Promise<Result<{ token: string; expires: number }>> {
  if (database.secret === undefined)
    return refuse(
      "forbidden",
      "This server makes tokens only for a database with a secret. Make tokens of this database where its private key is.",
    );
  if (extras && database.extras_claim === undefined) {
    return refuse(
      "invalid-field",
      "extras needs a database with an extras_claim. Set extras_claim, or leave extras out.",
      { field: "extras" },
    );
  }
  if (extras && !isExtras(extras)) {
    const detail = `extras must have at most ${MAX_EXTRAS_BYTES} bytes as JSON.`;
    return refuse("invalid-field", detail, { field: "extras", limit: MAX_EXTRAS_BYTES });
  }
  const expires = Math.floor(Date.now() / 1000) + expires_in;
  const claims = {
    [database.id_claim]: String(id),
    ...(extras && database.extras_claim !== undefined && { [database.extras_claim]: extras }),
    ...(database.issuer !== undefined && { iss: database.issuer }),
    aud: database.audience ?? defaultAudienceOf(name),
  };
  try {
    const unsigned = new SignJWT(claims)
      .setProtectedHeader({ alg: "HS256", typ: "JWT" })
      .setIssuedAt()
      .setExpirationTime(expires);
    const token = await unsigned.sign(secretKey(database.secret, secrets));
    if (token.length <= MAX_TOKEN_CHARACTERS) return { ok: true, value: { token, expires: expires * 1000 } };
    const detail = `The token would have more than ${MAX_TOKEN_CHARACTERS} characters; send less in extras.`;
    return refuse("invalid-field", detail, { field: "extras", limit: MAX_TOKEN_CHARACTERS });
  } catch (error) {
    if (!(error instanceof MisconfiguredError)) throw error;
    return refuse("unavailable", `The server cannot make a token: ${error.message}.`);
  }
}
