import * as v from "valibot";
import { MAX_CHANNEL_NAME_CHARACTERS, MAX_FRAME_ID_CHARACTERS, MAX_SEQ, MAX_TYPE_CHARACTERS } from "./limits.ts";

/** Returns a schema for an object with exactly these fields. valibot's own schema would accept an array. */
export function fields<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(v.custom<Record<string, unknown>>(isObject, "must be an object"), v.strictObject(entries));
}

export function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const SEGMENT = "(?!\\.{1,2}(?:/|$))[A-Za-z0-9_\\-.:;@+=,~]+";
const NAME = `${SEGMENT}(?:/${SEGMENT})*`;

const boundedName = v.pipe(
  v.string("must be a string"),
  v.minLength(1, "must not be empty"),
  v.maxLength(MAX_CHANNEL_NAME_CHARACTERS, `must have at most ${MAX_CHANNEL_NAME_CHARACTERS} characters`),
);
const NAME_RULE =
  "may contain A-Z a-z 0-9 _ - . : ; @ + = , ~ in segments joined by /, and no segment may be empty, `.` or `..`";

/**
 * A channel's name: segments joined by `/`. No segment is empty, `.` or `..`, so that a name means the same in a path,
 * in a log and in SQL.
 */
export const ChannelName = v.pipe(boundedName, v.regex(new RegExp(`^${NAME}$`), NAME_RULE));

/** The key of settings: a channel, all channels below a name (`room/*`), or all channels (`*`). */
export const ChannelPattern = v.pipe(
  boundedName,
  v.regex(new RegExp(`^(?:\\*|${NAME}(?:/\\*)?)$`), `${NAME_RULE}. The last segment may be *`),
);

/** The name of an auth database. */
export const DatabaseName = v.pipe(
  v.string("must be a string"),
  v.regex(/^[A-Za-z0-9_-]{1,64}$/, "must have 1 to 64 of the characters A-Z a-z 0-9 _ -"),
);

/** The number of an auth database in `permissions`. */
export const DatabaseNumber = v.pipe(
  v.number("must be a number"),
  v.integer("must be a whole number"),
  v.minValue(1, "must be at least 1"),
  v.maxValue(MAX_SEQ),
);

/** A JSON object with any fields. All of them are kept. */
export const JsonObject = v.custom<Record<string, unknown>>(isObject, "must be an object");

/** Any JSON value, including `null`, `""` and `0`. parseJson has checked its limits. */
export const Json = v.unknown();

/** A user's id within its database. */
export const UserId = v.union(
  [
    v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(Number.MAX_SAFE_INTEGER)),
    v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/)),
  ],
  "must be a whole number from 1 to 2^53 - 1, or 1 to 128 visible ASCII characters",
);

export type UserId = v.InferOutput<typeof UserId>;

/** The id of a frame: its sender chooses it, and the answer carries it. */
export const FrameId = v.pipe(
  v.string("must be a string"),
  v.minLength(1, "must not be empty"),
  v.maxLength(MAX_FRAME_ID_CHARACTERS, `must have at most ${MAX_FRAME_ID_CHARACTERS} characters`),
  v.regex(/^[\x21-\x7e]+$/, "must have only visible ASCII characters"),
);

/** The application's name for a kind of message: `order.created`. */
export const MessageType = v.pipe(
  v.string("must be a string"),
  v.minLength(1, "must not be empty"),
  v.maxLength(MAX_TYPE_CHARACTERS, `must have at most ${MAX_TYPE_CHARACTERS} characters`),
  v.regex(/^[A-Za-z0-9_.:-]+$/, "may contain A-Z a-z 0-9 _ . : -"),
);

/** A position in a channel. 0 is before its first message. */
export const Position = v.pipe(
  v.number("must be a number"),
  v.integer("must be a whole number"),
  v.minValue(0, "must be 0 or more"),
  v.maxValue(MAX_SEQ, `must be at most ${MAX_SEQ}`),
);
