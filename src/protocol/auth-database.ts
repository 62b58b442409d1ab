import * as v from "valibot";
import { isKeySetAddress, KEY_SET_ADDRESS_RULE } from "./key-set-address.ts";
import { MAX_KEY_SET_ADDRESS_CHARACTERS, MAX_KEYS_PER_SET } from "./limits.ts";
import { DatabaseNumber, fields, isObject, JsonObject, UserId } from "./values.ts";

/** A key set address in the normal form of `URL`, so that two spellings of an address become the same text. */
const keySetAddress = v.pipe(
  v.string("must be a string"),
  v.maxLength(MAX_KEY_SET_ADDRESS_CHARACTERS, `must have at most ${MAX_KEY_SET_ADDRESS_CHARACTERS} characters`),
  v.check(isKeySetAddress, KEY_SET_ADDRESS_RULE),
  v.transform((text) => new URL(text).href),
);

const shortText = v.pipe(
  v.string("must be a string"),
  v.minLength(1, "must not be empty"),
  v.maxLength(512, "must have at most 512 characters"),
);

/** Claims with a fixed meaning, which cannot hold a user's id or extras. */
const OTHER_CLAIMS = ["aud", "exp", "iat", "iss", "nbf"];

const claimName = v.pipe(
  shortText,
  v.check((claim) => !OTHER_CLAIMS.includes(claim), `must not be one of ${OTHER_CLAIMS.join(", ")}`),
);
/** A key set may have public keys only: a private key in it would be returned with the configuration. */
const isPublicJwks = (set: unknown) =>
  isObject(set) &&
  Array.isArray((set as { keys?: unknown }).keys) &&
  (set as { keys: unknown[] }).keys.length <= MAX_KEYS_PER_SET &&
  (set as { keys: unknown[] }).keys.every(
    (key) => isObject(key) && !("d" in (key as object)) && !("k" in (key as object)),
  );

const ASYMMETRIC_ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;

/**
 * An auth database: a set of users, each identified by a token (JWT). Exactly one of `secret`, `jwks` and `jwks_url`
 * gives the keys, and `algorithm` the algorithm. A token cannot choose either.
 */
export const AuthDatabase = v.pipe(
  fields({
    /** The number of the database in `permissions`. */
    dbo_id: DatabaseNumber,
    /** The name of a Worker secret with a key for HS256, of at least 32 bytes. */
    secret: v.optional(
      v.pipe(
        v.string("must be a string"),
        v.regex(
          /^AUTH_SECRET[A-Z0-9_]{0,53}$/,
          "must be the name of a Worker secret that begins with AUTH_SECRET: up to 64 characters out of A-Z 0-9 _",
        ),
      ),
    ),
    /** A JSON Web Key Set (RFC 7517) of public keys. */
    jwks: v.optional(
      v.custom<{ keys: object[] }>(isPublicJwks, `must be a key set of at most ${MAX_KEYS_PER_SET} public keys`),
    ),
    /** The address of such a set. */
    jwks_url: v.optional(keySetAddress),
    /** For key sets an asymmetric algorithm, by default RS256. A secret always uses HS256. */
    algorithm: v.optional(
      v.picklist(["HS256", ...ASYMMETRIC_ALGORITHMS], `must be one of HS256, ${ASYMMETRIC_ALGORITHMS.join(", ")}`),
    ),
    /** The required `iss` of a token. */
    issuer: v.optional(shortText),
    /** The required `aud` of a token, or one of its `aud`s. */
    audience: v.optional(shortText),
    /** The claim with the user's id. */
    id_claim: v.optional(claimName, "sub"),
    /** The claim with the object that becomes the client's `extras`. */
    extras_claim: v.optional(claimName),
  }),
  v.check(
    ({ secret, jwks, jwks_url }) => [secret, jwks, jwks_url].filter((source) => source !== undefined).length === 1,
    "must have exactly one of secret, jwks and jwks_url",
  ),
  v.forward(
    v.partialCheck(
      [["secret"], ["algorithm"]],
      ({ secret, algorithm }) => secret !== undefined || algorithm !== "HS256",
      "must be asymmetric for a key set: HS256 needs a secret",
    ),
    ["algorithm"],
  ),
  v.transform(withTrueAlgorithm),
);
export type AuthDatabase = v.InferOutput<typeof AuthDatabase>;

/** Returns a configuration with the algorithm that verifies its tokens. Earlier versions stored RS256 for a secret. */
export function withTrueAlgorithm<T extends { secret?: string | undefined; algorithm?: Algorithm | undefined }>(
  config: T,
): T & { algorithm: Algorithm } {
  return { ...config, algorithm: config.secret === undefined ? (config.algorithm ?? "RS256") : "HS256" };
}

type Algorithm = "HS256" | (typeof ASYMMETRIC_ALGORITHMS)[number];

/** The body of `POST /databases/{name}/tokens`. */
export const TokenRequest = fields({
  id: UserId,
  extras: v.optional(JsonObject),
  /** Seconds until the token expires. */
  expires_in: v.optional(
    v.pipe(
      v.number("must be a number"),
      v.integer("must be a whole number"),
      v.minValue(1, "must be at least 1"),
      v.maxValue(86_400, "must be at most 86400"),
    ),
    3_600,
  ),
});

/** The body of `POST /databases/{name}/disconnect`: a user's id, or no field for all users. */
export const DisconnectRequest = fields({ id: v.optional(UserId) });
