import * as v from "valibot";
import { MAX_BATCH_MESSAGES, MAX_IDEMPOTENCY_KEY_CHARACTERS } from "./limits.ts";
import { deliverable, Sender } from "./delivery.ts";
import { ChannelName, DatabaseName, Json } from "./values.ts";

/** The body of `POST /message`. */
export const PublishRequest = deliverable({
  channel: ChannelName,
  message: Json,
  /** The auth database to whose users the event is restricted, which must be the channel's. */
  database: v.optional(DatabaseName),
  /** The user to whom the event is attributed. */
  sender: v.optional(Sender),
});
export type PublishRequest = v.InferOutput<typeof PublishRequest>;

/** The body of `POST /messages`: messages for one or several channels, in order. */
export const BatchRequest = v.pipe(
  v.array(PublishRequest, "must be an array"),
  v.minLength(1, "must have at least one message"),
  v.maxLength(MAX_BATCH_MESSAGES, `must have at most ${MAX_BATCH_MESSAGES} messages`),
);

/** The header `Idempotency-Key`: any text that the caller chooses. */
export const IdempotencyKey = v.pipe(
  v.string(),
  v.maxLength(MAX_IDEMPOTENCY_KEY_CHARACTERS, `must have at most ${MAX_IDEMPOTENCY_KEY_CHARACTERS} characters`),
  v.regex(/^[\x21-\x7e]+$/, "must have only visible ASCII characters"),
);
