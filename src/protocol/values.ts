import * as v from "valibot";
import { MAX_CHANNEL_NAME_LENGTH, MAX_SEQ } from "./limits.ts";

/** An object with these fields and no other. valibot alone takes an array for one. */
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
export const Json = v.unknown();

/** A user's id within its database: what a token's claim, or a table's row, says. */
export const UserId = v.union(
  [
    v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(Number.MAX_SAFE_INTEGER)),
    v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,128}$/)),
  ],
  "must be a whole number above 0, or a text of 1 to 128 visible ASCII characters",
);

export type UserId = v.InferOutput<typeof UserId>;

/** A position in a channel; 0 is before its first message. */
export const Position = v.pipe(
  v.number("must be a number"),
  v.integer("must be a whole number"),
  v.minValue(0, "must be 0 or more"),
  v.maxValue(MAX_SEQ, `must be at most ${MAX_SEQ}`),
);
