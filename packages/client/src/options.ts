import type { StandardSchemaV1 } from "@standard-schema/spec";

export interface ChannelOptions<In = unknown, Out = In> {
  /** Receive the latest messages on the first join. */
  history?: boolean;
  /** Receive the members of the channel, and each member that joins or leaves. */
  presence?: boolean;
  /** Resume after this `seq`, for example the last one that was received before a reload. */
  after?: number;
  /** Validates every payload. Any validator that implements Standard Schema and validates synchronously. */
  schema?: StandardSchemaV1<In, Out>;
}

export interface PublishOptions {
  /** Identifies this message, so that repeating the publish stores it once (IDM1). By default a new random key. */
  idempotencyKey?: string;
}

export interface SendOptions {
  /** Makes the message private: only the client with this `socketId` receives it, and it is not stored. */
  to?: string;
  /** Deliver the message only to authenticated clients (FRA4). */
  authenticated?: boolean;
}
