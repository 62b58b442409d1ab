import * as v from "valibot";
import {
  DEFAULT_PAGE_SIZE,
  MAX_CHANNEL_NAME_CHARACTERS,
  MAX_LISTED_MEMBERS,
  MAX_PAGE_SIZE,
  MAX_SEARCH_CHARACTERS,
} from "./limits.ts";
import { MessageType, Position } from "./values.ts";

const fromText = v.pipe(v.string(), v.regex(/^\d{1,16}$/, "must be a whole number, 0 or more"), v.transform(Number));

const limitOf = (largest: number, byDefault: number) =>
  v.optional(
    v.pipe(fromText, v.minValue(1, "must be at least 1"), v.maxValue(largest, `must be at most ${largest}`)),
    String(byDefault),
  );

/** The query of `GET /channels/{channel}/presence`. */
export const PresenceQuery = v.object({ limit: limitOf(MAX_LISTED_MEMBERS, MAX_LISTED_MEMBERS) });

/** The query of `GET /channels/{channel}/socket`. With `batch`, the server sends batch frames. */
export const SocketQuery = v.object({
  frames: v.optional(v.picklist(["single", "batch"], "must be one of single, batch"), "single"),
});

/** The query of a list of names: those after `after`, in the order of their characters. */
export const ListQuery = v.object({
  limit: limitOf(MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE),
  after: v.optional(
    v.pipe(
      v.string(),
      v.maxLength(MAX_CHANNEL_NAME_CHARACTERS, `must have at most ${MAX_CHANNEL_NAME_CHARACTERS} characters`),
    ),
    "",
  ),
});

/** A time in RFC 3339, as milliseconds since the epoch. */
const Time = v.pipe(
  v.string(),
  v.isoTimestamp("must be an RFC 3339 time, such as 2026-11-24T10:17:02Z"),
  v.transform((text) => Date.parse(text)),
  v.check((time) => time >= 0 && time < Date.UTC(10_000), "must be in the years 1970 to 9999"),
);

/** The query of `GET /channels/{channel}/messages`. */
export const HistoryQuery = v.object({
  limit: limitOf(MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE),
  before: v.optional(v.pipe(fromText, Position)),
  after: v.optional(v.pipe(fromText, Position)),
  /** Only messages whose payload's JSON text contains this, ignoring case. */
  q: v.optional(
    v.pipe(
      v.string(),
      v.minLength(1, "must not be empty"),
      v.maxLength(MAX_SEARCH_CHARACTERS, `must have at most ${MAX_SEARCH_CHARACTERS} characters`),
    ),
  ),
  /** Only messages of this type. */
  type: v.optional(MessageType),
  /** Only messages of this time or later. */
  since: v.optional(Time),
  /** Only messages from before this time. */
  until: v.optional(Time),
});
export type HistoryQuery = v.InferOutput<typeof HistoryQuery>;
