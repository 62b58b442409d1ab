import { createLocalJWKSet, createRemoteJWKSet, errors, type JWTPayload, jwtVerify, SignJWT } from "jose";
import * as v from "valibot";
import { logFailure } from "../logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { MAX_EXTRAS_LENGTH, MAX_TOKEN_LENGTH } from "../protocol/limits.ts";
import { type AuthDatabase, UserId } from "../protocol/schemas.ts";
import type { User } from "./policy.ts";

/** How far the issuer's clock may be off, in seconds. */
const CLOCK_SKEW = 5;
/** HS256 with a key shorter than its hash is weaker than it says (RFC 7518, section 3.2). */
const MIN_SECRET_BYTES = 32;
/** For key sets that are fetched, in milliseconds: how long to wait, to keep them, and between two looks for an unknown key. */
const JWKS_FETCH = { timeoutDuration: 3_000, cacheMaxAge: 600_000, cooldownDuration: 30_000 };
/** Key sets kept in memory, each by its address. */
const MAX_KEY_SETS = 100;

/** The end of every token, in milliseconds since the epoch: the runtime sets no alarm for a later time. */
const LATEST_EXPIRY_MS = Date.UTC(2189);

type KeySet = ReturnType<typeof createRemoteJWKSet>;

/** Fetched key sets, so that each address is asked rarely, however many tokens come. */
const keySets = new Map<string, KeySet>();

/** Where Worker secrets are looked up: the Worker's bindings. */
export type Secrets = object;

/** Turns a token into the user that it is of, or says what is wrong with it. */
export async function verifyToken(
  token: string,
  name: string,
  database: AuthDatabase,
  secrets: Secrets,
): Promise<Result<User>> {
  if (token.length > MAX_TOKEN_LENGTH) {
    return refuse("unauthorized", `A token has at most ${MAX_TOKEN_LENGTH} characters.`, { limit: MAX_TOKEN_LENGTH });
  }
  try {
    return userOf(await claimsOf(token, database, secrets), name, database);
  } catch (error) {
    if (isOurs(error)) {
      logFailure("token not verifiable", error, { database: name });
      return refuse("unavailable", "The token cannot be verified just now.", { retryAfter: 5 });
    }
    // Only codes, which are jose's own: what the token says does not come back.
    const reason = error instanceof errors.JOSEError ? REASONS[error.code] : undefined;
    return refuse("unauthorized", reason ?? "The token is not valid for this channel.");
  }
}

/** Whether it is not the token's fault: keys that cannot be had are no JOSE error, or a time-out, or a generic one. */
function isOurs(error: unknown): boolean {
  if (!(error instanceof errors.JOSEError)) return true;
  return error instanceof errors.JWKSTimeout || error.code === errors.JOSEError.code;
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

function keySetOf({ jwks, jwks_url: address }: AuthDatabase): ReturnType<typeof createLocalJWKSet> | KeySet {
  if (jwks) return createLocalJWKSet(jwks);
  if (address === undefined) throw new MisconfiguredError("a database without keys");
  const known = keySets.get(address);
  if (known) return known;
  if (keySets.size >= MAX_KEY_SETS) keySets.clear();
  const created = createRemoteJWKSet(new URL(address), JWKS_FETCH);
  keySets.set(address, created);
  return created;
}

function secretKey(secret: string, secrets: Secrets): Uint8Array {
  const value = (secrets as Record<string, unknown>)[secret];
  const key = new TextEncoder().encode(typeof value === "string" ? value : "");
  if (key.length >= MIN_SECRET_BYTES) return key;
  throw new MisconfiguredError(`the Worker has no secret ${secret} of at least ${MIN_SECRET_BYTES} bytes`);
}

function userOf(claims: JWTPayload, name: string, database: AuthDatabase): Result<User> {
  const id = v.safeParse(UserId, asNumber(claims[database.id_claim]));
  if (!id.success) return refuse("unauthorized", `The token's claim ${database.id_claim} holds no user's id.`);
  const expires = expiryOf(claims);
  if (expires === undefined) {
    const detail = `The token's exp must be a number of seconds, at most ${Number.MAX_SAFE_INTEGER}.`;
    return refuse("unauthorized", detail, { limit: Number.MAX_SAFE_INTEGER });
  }
  const extras = database.extras_claim === undefined ? {} : (claims[database.extras_claim] ?? {});
  if (typeof extras !== "object" || Array.isArray(extras) || JSON.stringify(extras).length > MAX_EXTRAS_LENGTH) {
    const detail = `The token's claim ${database.extras_claim} is no object of at most ${MAX_EXTRAS_LENGTH} characters.`;
    return refuse("unauthorized", detail, { limit: MAX_EXTRAS_LENGTH });
  }
  return {
    ok: true,
    value: {
      kind: "user",
      database: name,
      dbo_id: database.dbo_id,
      row_id: id.output,
      extras: extras as Record<string, unknown>,
      expires,
    },
  };
}

/** When a token expires, in milliseconds since the epoch; undefined if that is no time. Fractions of a second are cut off. */
function expiryOf({ exp = NaN }: JWTPayload): number | undefined {
  const seconds = Math.floor(exp);
  return Number.isSafeInteger(seconds) ? Math.min(seconds * 1000, LATEST_EXPIRY_MS) : undefined;
}

/** A JWT's `sub` is always text (RFC 7519, section 4.1.2), while the row ids of a table are numbers. */
function asNumber(claim: unknown): unknown {
  return typeof claim === "string" && /^[1-9]\d{0,14}$/.test(claim) ? Number(claim) : claim;
}

/** Makes a token for a user of a database that has a secret. */
export async function mintToken(
  database: AuthDatabase,
  secrets: Secrets,
  { id, extras, expires_in }: { id: number | string; extras?: Record<string, unknown> | undefined; expires_in: number },
): Promise<Result<{ token: string; expires: number }>> {
  if (database.secret === undefined)
    return refuse("forbidden", "Only a database with a secret has its tokens made here.");
  if (extras && database.extras_claim === undefined) {
    return refuse("invalid-field", "extras needs a database with an extras_claim.", { field: "extras" });
  }
  const expires = Math.floor(Date.now() / 1000) + expires_in;
  const claims = {
    [database.id_claim]: String(id),
    ...(extras && database.extras_claim !== undefined && { [database.extras_claim]: extras }),
    ...(database.issuer !== undefined && { iss: database.issuer }),
    ...(database.audience !== undefined && { aud: database.audience }),
  };
  try {
    const token = new SignJWT(claims)
      .setProtectedHeader({ alg: "HS256", typ: "JWT" })
      .setIssuedAt()
      .setExpirationTime(expires);
    return {
      ok: true,
      value: { token: await token.sign(secretKey(database.secret, secrets)), expires: expires * 1000 },
    };
  } catch (error) {
    if (!(error instanceof MisconfiguredError)) throw error;
    return refuse("unavailable", `No token can be made: ${error.message}.`);
  }
}
