import { createLocalJWKSet, errors, type JWTPayload, jwtVerify, SignJWT } from "jose";
import * as v from "valibot";
import type { Env } from "../env.ts";
import { logFailure } from "../logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { isLongerThan, jsonFault } from "../protocol/json.ts";
import { MAX_EXTRAS_BYTES, MAX_TOKEN_LENGTH } from "../protocol/limits.ts";
import { type AuthDatabase, type TokenRequest, UserId } from "../protocol/schemas.ts";
import { audienceFault, defaultAudienceOf } from "./audience.ts";
import type { VerifyingDatabase } from "./databases.ts";
import { type KeySet, KeySetError, keySetAt } from "./key-sets.ts";
import type { User } from "./policy.ts";
import { isRevoked, REVOKED } from "./revocations.ts";

/** How far the issuer's clock may be off, in seconds. */
const CLOCK_SKEW = 5;
/** HS256 with a key shorter than its hash is weaker than it says (RFC 7518, section 3.2). */
const MIN_SECRET_BYTES = 32;
/** Seconds after which to repeat a request whose token could not be verified. */
const RETRY_AFTER_S = 5;

/** The end of every token, in milliseconds since the epoch: the runtime sets no alarm for a later time. */
const LATEST_EXPIRY_MS = Date.UTC(2189);

/** Where Worker secrets are looked up: the Worker's bindings. */
export type Secrets = object;

/** The bindings that are a text. */
type TextBinding = { [K in keyof Env]-?: Env[K] extends string | undefined ? K : never }[keyof Env];

/** Bindings that never verify a token: their texts are public, or are credentials of their own. */
const NO_SECRETS: Record<TextBinding, true> = {
  API_KEYS: true,
  ALLOWED_ORIGINS: true,
  REALTIME_CANONICAL: true,
  LOCAL_HOSTS: true,
};

/** The times that a token may name, in seconds since the epoch (RFC 7519, section 2). */
const TIME_CLAIMS = ["exp", "nbf", "iat"] as const;
const NumericDate = v.optional(v.pipe(v.number(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER)));

/** Turns a token into the user that it is of, or says what is wrong with it. */
export async function verifyToken(
  token: string,
  name: string,
  database: VerifyingDatabase,
  secrets: Secrets,
): Promise<Result<User>> {
  if (token.length > MAX_TOKEN_LENGTH) {
    return refuse("unauthorized", `A token has at most ${MAX_TOKEN_LENGTH} characters.`, { limit: MAX_TOKEN_LENGTH });
  }
  try {
    return userOf(await claimsOf(token, database, secrets), name, database);
  } catch (error) {
    if (error instanceof errors.JOSEError) {
      // Only codes, which are jose's own: what the token says does not come back.
      return refuse("unauthorized", REASONS[error.code] ?? "The token is not valid for this channel.");
    }
    // A failed fetch is logged once, not for each token.
    if (!(error instanceof KeySetError)) logFailure("token not verifiable", error, { database: name });
    return refuse("unavailable", "The token cannot be verified just now.", { retryAfter: RETRY_AFTER_S });
  }
}

const REASONS: Record<string, string> = {
  ERR_JWT_EXPIRED: "The token has expired.",
  ERR_JOSE_ALG_NOT_ALLOWED: "The token's algorithm is not the database's.",
  ERR_JWT_CLAIM_VALIDATION_FAILED: "A claim of the token is not what the database asks for.",
  ERR_JWKS_NO_MATCHING_KEY: "The token's key is not one of the database's.",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: "The token's signature is not valid.",
};

class MisconfiguredError extends Error {}

/** The algorithm comes from the database's configuration, never from the token. */
async function claimsOf(token: string, database: AuthDatabase, secrets: Secrets): Promise<JWTPayload> {
  const { issuer, audience, algorithm } = database;
  const expected = {
    clockTolerance: CLOCK_SKEW,
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
  if (address === undefined) throw new MisconfiguredError("a database without keys");
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
  if (!id.success) return refuse("unauthorized", `The token's claim ${database.id_claim} holds no user's id.`);
  const extras = database.extras_claim === undefined ? {} : (ownClaim(claims, database.extras_claim) ?? {});
  if (!isExtras(extras)) {
    const detail = `The token's claim ${database.extras_claim} must be an object of at most ${MAX_EXTRAS_BYTES} bytes as JSON, nested like any other JSON.`;
    return refuse("unauthorized", detail, { limit: MAX_EXTRAS_BYTES });
  }
  const expires = Math.min(Math.floor(claims.exp ?? 0) * 1000, LATEST_EXPIRY_MS);
  const issued = claims.iat === undefined ? undefined : Math.floor(claims.iat) * 1000;
  const { dbo_id } = database;
  const user = { kind: "user" as const, database: name, dbo_id, row_id: id.output, extras, expires, issued };
  return isRevoked(user, database.revocations) ? REVOKED : { ok: true, value: user };
}

/** What a token itself says, and not what every object has. */
function ownClaim(claims: JWTPayload, claim: string): unknown {
  return Object.hasOwn(claims, claim) ? claims[claim] : undefined;
}

/** Whether a value is an object within the bounds of `extras`. */
function isExtras(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return !jsonFault(value) && !isLongerThan(JSON.stringify(value), MAX_EXTRAS_BYTES);
}

/**
 * A JWT's `sub` is always text (RFC 7519, section 4.1.2), while the row ids of a table are numbers: a text that is a row id's
 * digits is that number, so no two users have ids that look the same.
 */
export function canonicalId(claim: unknown): unknown {
  if (typeof claim !== "string" || !/^[1-9]\d{0,15}$/.test(claim)) return claim;
  return Number.isSafeInteger(Number(claim)) ? Number(claim) : claim;
}

/**
 * Makes a token for a user of a database that has a secret.
 *
 * @param name The database's name.
 */
export async function mintToken(
  { id, extras, expires_in }: v.InferOutput<typeof TokenRequest>,
  name: string,
  database: AuthDatabase,
  secrets: Secrets,
): Promise<Result<{ token: string; expires: number }>> {
  if (database.secret === undefined)
    return refuse("forbidden", "Only a database with a secret has its tokens made here.");
  if (extras && database.extras_claim === undefined) {
    return refuse("invalid-field", "extras needs a database with an extras_claim.", { field: "extras" });
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
    if (token.length <= MAX_TOKEN_LENGTH) return { ok: true, value: { token, expires: expires * 1000 } };
    const detail = `The token would have more than ${MAX_TOKEN_LENGTH} characters; send less in extras.`;
    return refuse("invalid-field", detail, { field: "extras", limit: MAX_TOKEN_LENGTH });
  } catch (error) {
    if (!(error instanceof MisconfiguredError)) throw error;
    return refuse("unavailable", `No token can be made: ${error.message}.`);
  }
}
