import * as v from "valibot";
import { DEFAULT_ANONYMOUS_BYTES_PER_DAY, MAX_ANONYMOUS_BYTES_PER_DAY, MAX_DESCRIPTION_CHARACTERS } from "./limits.ts";
import { DatabaseName, fields } from "./values.ts";

const flag = (byDefault: boolean) => v.optional(v.boolean("must be true or false"), byDefault);
const messaging = v.optional(fields({ active: flag(false), auth: flag(false) }), {});

const settingsFields = {
  /** If false, the channel is closed to all clients except API-key clients. */
  active: flag(true),
  description: v.optional(
    v.pipe(
      v.string("must be a string"),
      v.maxLength(MAX_DESCRIPTION_CHARACTERS, `must have at most ${MAX_DESCRIPTION_CHARACTERS} characters`),
    ),
    "",
  ),
  /** Whether anonymous clients may connect. */
  anonymous_clients: flag(false),
  /** Whether clients may see presence. */
  presence: flag(false),
  /** The number of latest messages that a client gets on `join`. With 0, clients cannot read history at all. */
  message_history: v.optional(v.picklist([0, 25, 50, 100, 250, 1000], "must be one of 0, 25, 50, 100, 250, 1000"), 0),
  /** `active`: whether clients may send messages to the channel. `auth`: whether only authenticated clients may. */
  public_messaging: messaging,
  /** `active`: whether clients may send private messages. `auth`: whether only authenticated clients may. */
  private_messaging: messaging,
  /**
   * Whether these settings also hold for the channels below this one (`room` for `room/42`) that have no nearer
   * settings.
   */
  nested_channels: flag(false),
  /** Whether only authenticated clients receive messages, history and presence. */
  auth_channel: flag(false),
  /** The bytes that anonymous clients may store per day (UTC), payloads and clients together; null for no limit. */
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
  /** The auth database whose users may authenticate on the channel; null for none. */
  database: v.optional(v.nullable(DatabaseName), null),
};

/** A channel's settings. Those that Xano Realtime also has use its names. */
export const ChannelSettings = fields(settingsFields);

/**
 * Stored settings, possibly of an older or newer version. Missing settings get their defaults, and unknown ones are
 * ignored.
 */
export const StoredSettings = v.object(settingsFields);

export type ChannelSettings = v.InferOutput<typeof ChannelSettings>;
