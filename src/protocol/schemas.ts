import * as v from "valibot";
import { type Fault, type Result } from "./errors.ts";
import {
  DEFAULT_PAGE_SIZE,
  MAX_BATCH_MESSAGES,
  MAX_CHANNEL_NAME_LENGTH,
  MAX_KEY_LENGTH,
  MAX_PAGE_SIZE,
  MAX_SEQ,
} from "./limits.ts";

/** An object with these fields and no other. valibot alone takes an array for one. */
function fields<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(v.custom<Record<string, unknown>>(isObject, "must be an object"), v.strictObject(entries));
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const SEGMENT_CHARACTERS = /^[A-Za-z0-9_\-.:;@+=,~/]*$/;

/**
 * A channel's name: segments joined by `/`. No segment is empty, `.` or `..`, so that a name means the same in a
 * path, in a log and in SQL.
 */
export const ChannelName = v.pipe(
  v.string("must be a string"),
  v.minLength(1, "must not be empty"),
  v.maxLength(MAX_CHANNEL_NAME_LENGTH, `must have at most ${MAX_CHANNEL_NAME_LENGTH} characters`),
  v.regex(SEGMENT_CHARACTERS, "may hold A-Z a-z 0-9 _ - . : ; @ + = , ~ and / between segments"),
  v.check(
    (name) => name.split("/").every((segment) => segment !== "" && segment !== "." && segment !== ".."),
    "must have no segment that is empty, `.` or `..`",
  ),
);

/** Any JSON value, `null`, `""` and `0` included; its bounds were checked when it was parsed. */
const Json = v.unknown();

/** The body of `POST /message`. */
export const PublishRequest = fields({ channel: ChannelName, message: Json });
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

/** The query of `GET /channels/{channel}/messages`. */
export const HistoryQuery = v.object({
  limit: v.optional(
    v.pipe(
      fromText,
      v.minValue(1, "must be at least 1"),
      v.maxValue(MAX_PAGE_SIZE, `must be at most ${MAX_PAGE_SIZE}`),
    ),
    String(DEFAULT_PAGE_SIZE),
  ),
  before: v.optional(v.pipe(fromText, Position)),
  after: v.optional(v.pipe(fromText, Position)),
});
export type HistoryQuery = v.InferOutput<typeof HistoryQuery>;

const settingsFields = {
  /** Clients without credentials may connect. */
  anonymous_clients: v.optional(v.boolean("must be true or false"), false),
  /** How many of the latest messages a client gets on `join`; with 0, clients read no history at all. */
  message_history: v.optional(v.picklist([0, 25, 50, 100, 250, 1000], "must be one of 0, 25, 50, 100, 250, 1000"), 0),
  /** `active`: clients may send messages to the channel; `auth`: only authenticated ones. */
  public_messaging: v.optional(
    fields({
      active: v.optional(v.boolean("must be true or false"), false),
      auth: v.optional(v.boolean("must be true or false"), false),
    }),
    {},
  ),
};

/** A channel's settings, under the names that Xano Realtime gives them. */
export const ChannelSettings = fields(settingsFields);

/**
 * Settings as they are stored, perhaps by an older or a newer version: absent ones get their default, unknown ones are
 * passed over.
 */
export const StoredSettings = v.object(settingsFields);

export type ChannelSettings = v.InferOutput<typeof ChannelSettings>;

const Options = v.optional(fields({ channel: v.optional(ChannelName) }));
const JoinOptions = v.optional(fields({ channel: v.optional(ChannelName), after: v.optional(Position) }));
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
    v.strictObject({ action: v.literal("message"), options: Options, payload: Json }),
    v.strictObject({ action: v.literal("history"), options: Options, payload: NoPayload }),
  ],
  "must be one of join, leave, message, history",
);
export type ClientFrame = v.InferOutput<typeof ClientFrame>;

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
