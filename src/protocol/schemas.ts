import * as v from "valibot";
import { type Fault, refuse, type Result } from "./errors.ts";
import { parseJson } from "./json.ts";
import { isKeySetAddress, KEY_SET_ADDRESS_RULE } from "./key-set-address.ts";
import {
  DEFAULT_ANONYMOUS_BYTES_PER_DAY,
  DEFAULT_PAGE_SIZE,
  MAX_ADDRESS_LENGTH,
  MAX_ANONYMOUS_BYTES_PER_DAY,
  MAX_BATCH_MESSAGES,
  MAX_CHANNEL_NAME_LENGTH,
  MAX_DESCRIPTION_LENGTH,
  MAX_KEY_LENGTH,
  MAX_KEYS_PER_SET,
  MAX_PAGE_SIZE,
  MAX_PRESENCE,
  MAX_SEARCH_LENGTH,
  MAX_SEQ,
} from "./limits.ts";

/** An object with these fields and no other. valibot alone takes an array for one. */
function fields<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(v.custom<Record<string, unknown>>(isObject, "must be an object"), v.strictObject(entries));
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const SEGMENT = "(?!\\.{1,2}(?:/|$))[A-Za-z0-9_\\-.:;@+=,~]+";
const NAME = `${SEGMENT}(?:/${SEGMENT})*`;

const boundedName = v.pipe(
  v.string("must be a string"),
  v.minLength(1, "must not be empty"),
  v.maxLength(MAX_CHANNEL_NAME_LENGTH, `must have at most ${MAX_CHANNEL_NAME_LENGTH} characters`),
);
const NAME_RULE = "may hold A-Z a-z 0-9 _ - . : ; @ + = , ~ in segments joined by /, none of them empty, `.` or `..`";

/**
 * A channel's name: segments joined by `/`. No segment is empty, `.` or `..`, so that a name means the same in a
 * path, in a log and in SQL.
 */
export const ChannelName = v.pipe(boundedName, v.regex(new RegExp(`^${NAME}$`), NAME_RULE));

/** What settings are stored for: a channel, all below one (`room/*`), or all there are (`*`). */
export const ChannelPattern = v.pipe(
  boundedName,
  v.regex(new RegExp(`^(?:\\*|${NAME}(?:/\\*)?)$`), `${NAME_RULE}; the last may be *`),
);

/** The name of an auth database. */
export const DatabaseName = v.pipe(
  v.string("must be a string"),
  v.regex(/^[A-Za-z0-9_-]{1,64}$/, "must be 1 to 64 characters out of A-Z a-z 0-9 _ -"),
);

/** The number by which clients know an auth database. */
export const DatabaseNumber = v.pipe(
  v.number("must be a number"),
  v.integer("must be a whole number"),
  v.minValue(1, "must be at least 1"),
  v.maxValue(MAX_SEQ),
);

/** A JSON object with any fields, all of which are kept. */
export const JsonObject = v.custom<Record<string, unknown>>(isObject, "must be an object");

/** Any JSON value, `null`, `""` and `0` included; its bounds were checked when it was parsed. */
const Json = v.unknown();

/** A user's id within its database: what a token's claim, or a table's row, says. */
export const UserId = v.union(
  [
    v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(Number.MAX_SAFE_INTEGER)),
    v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/)),
  ],
  "must be a whole number above 0, or a text of 1 to 128 visible ASCII characters",
);

export type UserId = v.InferOutput<typeof UserId>;

/** The body of `POST /message`. */
export const PublishRequest = fields({
  channel: ChannelName,
  message: Json,
  /** Deliver only to clients that this database authenticated; it must be the channel's. */
  database: v.optional(DatabaseName),
  /** The user to whom the event is attributed. */
  sender: v.optional(fields({ database: DatabaseName, id: UserId })),
});
export type PublishRequest = v.InferOutput<typeof PublishRequest>;

/** The body of `POST /messages`: messages for one or several channels, in order. */
export const BatchRequest = v.pipe(
  v.array(PublishRequest, "must be an array"),
  v.minLength(1, "must hold at least one message"),
  v.maxLength(MAX_BATCH_MESSAGES, `must hold at most ${MAX_BATCH_MESSAGES} messages`),
);

/** The header `Idempotency-Key`, an opaque text of the caller's. */
export const IdempotencyKey = v.pipe(
  v.string(),
  v.maxLength(MAX_KEY_LENGTH, `must have at most ${MAX_KEY_LENGTH} characters`),
  v.regex(/^[\x21-\x7e]+$/, "must be visible ASCII characters"),
);

/** A place in a channel's order; 0 is before its first message. */
const Position = v.pipe(
  v.number("must be a number"),
  v.integer("must be a whole number"),
  v.minValue(0, "must be 0 or more"),
  v.maxValue(MAX_SEQ, `must be at most ${MAX_SEQ}`),
);

const fromText = v.pipe(v.string(), v.regex(/^\d{1,16}$/, "must be a whole number, 0 or more"), v.transform(Number));

const limitOf = (largest: number, otherwise: number) =>
  v.optional(
    v.pipe(fromText, v.minValue(1, "must be at least 1"), v.maxValue(largest, `must be at most ${largest}`)),
    String(otherwise),
  );

/** The query of `GET /channels/{channel}/presence`. */
export const PresenceQuery = v.object({ limit: limitOf(MAX_PRESENCE, MAX_PRESENCE) });

/** The query of `GET /channels/{channel}/socket`: `batch` for frames in arrays, many in one WebSocket message under load. */
export const SocketQuery = v.object({
  frames: v.optional(v.picklist(["single", "batch"], "must be one of single, batch"), "single"),
});

/** The query of a list of names: those that come after one, in the order of their characters. */
export const ListQuery = v.object({
  limit: limitOf(MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE),
  after: v.optional(
    v.pipe(v.string(), v.maxLength(MAX_CHANNEL_NAME_LENGTH, `must have at most ${MAX_CHANNEL_NAME_LENGTH} characters`)),
    "",
  ),
});

/** A time by RFC 3339, as milliseconds since the epoch. */
const Time = v.pipe(
  v.string(),
  v.isoTimestamp("must be a time by RFC 3339, such as 2026-11-24T10:17:02Z"),
  v.transform((text) => Date.parse(text)),
  v.check((time) => time >= 0 && time < Date.UTC(10_000), "must be a time in the years from 1970 to 9999"),
);

/** The query of `GET /channels/{channel}/messages`. */
export const HistoryQuery = v.object({
  limit: limitOf(MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE),
  before: v.optional(v.pipe(fromText, Position)),
  after: v.optional(v.pipe(fromText, Position)),
  /** Only messages whose payload's JSON text contains this, in whatever case. */
  q: v.optional(
    v.pipe(
      v.string(),
      v.minLength(1, "must not be empty"),
      v.maxLength(MAX_SEARCH_LENGTH, `must have at most ${MAX_SEARCH_LENGTH} characters`),
    ),
  ),
  /** Only messages of this time or later. */
  since: v.optional(Time),
  /** Only messages from before this time. */
  until: v.optional(Time),
});
export type HistoryQuery = v.InferOutput<typeof HistoryQuery>;

const flag = (otherwise: boolean) => v.optional(v.boolean("must be true or false"), otherwise);
const messaging = v.optional(fields({ active: flag(false), auth: flag(false) }), {});

const settingsFields = {
  /** Off, the channel is closed to all but the server side. */
  active: flag(true),
  description: v.optional(
    v.pipe(
      v.string("must be a string"),
      v.maxLength(MAX_DESCRIPTION_LENGTH, `must have at most ${MAX_DESCRIPTION_LENGTH} characters`),
    ),
    "",
  ),
  /** Clients without credentials may connect. */
  anonymous_clients: flag(false),
  /** Clients may see who is here. */
  presence: flag(false),
  /** How many of the latest messages a client gets on `join`; with 0, clients read no history at all. */
  message_history: v.optional(v.picklist([0, 25, 50, 100, 250, 1000], "must be one of 0, 25, 50, 100, 250, 1000"), 0),
  /** `active`: clients may send messages to the channel; `auth`: only authenticated ones. */
  public_messaging: messaging,
  /** `active`: clients may send messages to each other; `auth`: only authenticated ones. */
  private_messaging: messaging,
  /** These settings also hold for the channels below this one (`room` for `room/42`), where nothing nearer does. */
  nested_channels: flag(false),
  /** Only authenticated clients receive: live, in history, and in presence. */
  auth_channel: flag(false),
  /** How many bytes anonymous clients may store per day (UTC), payloads and clients together; null for no limit. */
  anonymous_bytes_per_day: v.optional(
    v.nullable(
      v.pipe(
        v.number("must be a number or null"),
        v.integer("must be a whole number"),
        v.minValue(0, "must be 0 or more"),
        v.maxValue(MAX_ANONYMOUS_BYTES_PER_DAY, `must be at most ${MAX_ANONYMOUS_BYTES_PER_DAY}`),
      ),
    ),
    DEFAULT_ANONYMOUS_BYTES_PER_DAY,
  ),
  /** The auth database whose users may authenticate on the channel; null where nobody can. */
  database: v.optional(v.nullable(DatabaseName), null),
};

/** A channel's settings; those that Xano Realtime has, too, have its names. */
export const ChannelSettings = fields(settingsFields);

/**
 * Settings as they are stored, perhaps by an older or a newer version: absent ones get their default, unknown ones are
 * passed over.
 */
export const StoredSettings = v.object(settingsFields);

export type ChannelSettings = v.InferOutput<typeof ChannelSettings>;

const Options = v.optional(fields({ channel: v.optional(ChannelName) }));
const JoinOptions = v.optional(fields({ channel: v.optional(ChannelName), after: v.optional(Position) }));
const MessageOptions = v.optional(
  fields({
    channel: v.optional(ChannelName),
    /** To this one client only; never stored. */
    socketId: v.optional(v.pipe(v.string("must be a string"), v.maxLength(64, "must have at most 64 characters"))),
    /** To authenticated clients only. */
    authenticated: v.optional(v.boolean("must be true or false"), false),
  }),
);
/** Clients of Xano Realtime ask a member for its history; as private messages are not stored, that is the channel's. */
const HistoryOptions = v.optional(fields({ channel: v.optional(ChannelName), socketId: v.optional(v.string()) }));
const Wishes = fields({
  history: v.optional(v.boolean("must be true or false"), false),
  presence: v.optional(v.boolean("must be true or false"), false),
});
const NoPayload = v.nullish(v.never("must be left out"));

/** A frame from a client. On a channel's own socket `options.channel` may be left out. */
export const ClientFrame = v.variant(
  "action",
  [
    v.strictObject({ action: v.literal("join"), options: JoinOptions, payload: v.nullish(Wishes) }),
    v.strictObject({ action: v.literal("leave"), options: Options, payload: NoPayload }),
    v.strictObject({ action: v.literal("message"), options: MessageOptions, payload: Json }),
    v.strictObject({ action: v.literal("history"), options: HistoryOptions, payload: NoPayload }),
  ],
  "must be one of join, leave, message, history",
);
export type ClientFrame = v.InferOutput<typeof ClientFrame>;

/** A frame as it came off a socket, or what is wrong with it and the channel that it names all the same. */
export type ParsedFrame = { ok: true; value: ClientFrame } | { ok: false; fault: Fault; channel?: string | undefined };

/** Parses and validates what a client sent. */
export function parseFrame(data: string | ArrayBuffer): ParsedFrame {
  if (typeof data !== "string") return refuse("not-text", "Send JSON in a text frame.");
  const json = parseJson(data);
  if (!json.ok) return json;
  const frame = validate(ClientFrame, json.value, "frame");
  return frame.ok ? frame : { ...frame, channel: channelNamedBy(json.value) };
}

function channelNamedBy(frame: unknown): string | undefined {
  const options = (frame as { options?: { channel?: unknown } } | null)?.options;
  return typeof options?.channel === "string" ? options.channel : undefined;
}

/** An address as `URL` writes it, so that two spellings of one address are the same text. */
const keySetAddress = v.pipe(
  v.string("must be a string"),
  v.maxLength(MAX_ADDRESS_LENGTH, `must have at most ${MAX_ADDRESS_LENGTH} characters`),
  v.check(isKeySetAddress, KEY_SET_ADDRESS_RULE),
  v.transform((text) => new URL(text).href),
);

const shortText = v.pipe(
  v.string("must be a string"),
  v.minLength(1, "must not be empty"),
  v.maxLength(512, "must have at most 512 characters"),
);

/** The claims that say when, by whom and for whom a token is made. */
const OTHER_CLAIMS = ["aud", "exp", "iat", "iss", "nbf"];

const claimName = v.pipe(
  shortText,
  v.check((claim) => !OTHER_CLAIMS.includes(claim), `must not be one of ${OTHER_CLAIMS.join(", ")}`),
);
/** Public keys only: a key set that holds a secret would make a secret out of this configuration. */
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
 * An auth database: a set of users who prove by a token (JWT) who they are. Just one of `secret`, `jwks` and `jwks_url`
 * says what tokens are verified by, and `algorithm` how; a token has no say in it.
 */
export const AuthDatabase = v.pipe(
  fields({
    /** The number by which clients know the database. */
    dbo_id: DatabaseNumber,
    /** The name of a Worker secret that holds a key for HS256, of 32 bytes at least. */
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
    /** Where to fetch such a set. */
    jwks_url: v.optional(keySetAddress),
    /** For key sets one that is asymmetric, by default RS256; a secret is always used with HS256. */
    algorithm: v.optional(
      v.picklist(["HS256", ...ASYMMETRIC_ALGORITHMS], "must be an algorithm of RFC 7518 that is supported"),
    ),
    /** What a token's `iss` must be. */
    issuer: v.optional(shortText),
    /** What a token's `aud` must be, or hold. */
    audience: v.optional(shortText),
    /** The claim that holds the user's id. */
    id_claim: v.optional(claimName, "sub"),
    /** The claim whose object becomes the client's `extras`. */
    extras_claim: v.optional(claimName),
  }),
  v.check(
    ({ secret, jwks, jwks_url }) => [secret, jwks, jwks_url].filter((source) => source !== undefined).length === 1,
    "must hold just one of secret, jwks and jwks_url",
  ),
  v.forward(
    v.partialCheck(
      [["secret"], ["algorithm"]],
      ({ secret, algorithm }) => secret !== undefined || algorithm !== "HS256",
      "must be asymmetric (RFC 7518) for a key set",
    ),
    ["algorithm"],
  ),
  v.transform(withTrueAlgorithm),
);
export type AuthDatabase = v.InferOutput<typeof AuthDatabase>;

/** Returns a configuration with the algorithm that tokens are verified by. Earlier versions stored RS256 beside a secret. */
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

/** The body of `POST /databases/{name}/disconnect`: a user, or no field for all users. */
export const DisconnectRequest = fields({ id: v.optional(UserId) });

/**
 * Validates at the door.
 *
 * @param root What the value as a whole is called where no field of it is wrong: `body`, `frame`, `channel`.
 */
export function validate<const S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  root: string,
): Result<v.InferOutput<S>> {
  const parsed = v.safeParse(schema, value, { abortEarly: true });
  return parsed.success ? { ok: true, value: parsed.output } : { ok: false, fault: faultOf(parsed.issues[0], root) };
}

function faultOf(issue: v.BaseIssue<unknown>, root: string): Fault {
  const field = v.getDotPath(issue) ?? root;
  const limit = "requirement" in issue && typeof issue.requirement === "number" ? { limit: issue.requirement } : {};
  return { code: "invalid-field", detail: `${field} ${reasonOf(issue)}.`, field, ...limit };
}

function reasonOf({ type, expected, received, message }: v.BaseIssue<unknown>): string {
  if (received === "undefined") return "is required";
  if (type !== "strict_object") return message;
  return expected === "never" ? "is not a known field" : "must be an object";
}
