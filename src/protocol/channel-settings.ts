import * as v from "valibot";
import { DEFAULT_ANONYMOUS_BYTES_PER_DAY, MAX_ANONYMOUS_BYTES_PER_DAY, MAX_DESCRIPTION_LENGTH } from "./limits.ts";
import { DatabaseName, fields } from "./values.ts";

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
