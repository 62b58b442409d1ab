import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { UserRef } from "./messages.ts";

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
  /** The application's name for the message: 1 to 64 characters of `A-Za-z0-9_.:-`. */
  type?: string;
  /** Deliver the message to the current subscribers, and do not store it. */
  ephemeral?: boolean;
}

export interface SendOptions {
  /** Identifies the message, so that sending it again stores it once: 1 to 64 visible ASCII characters. By default random. */
  id?: string;
  /** The application's name for the message: 1 to 64 characters of `A-Za-z0-9_.:-`. */
  type?: string;
  /** Makes the message private: only the client with this `socketId`, or all clients of this user, receive it. It is not stored. */
  to?: string | UserRef;
  /** Do not deliver the message live to the client with this `socketId`. */
  except?: string;
  /** Deliver the message only to authenticated clients (FRA4). */
  authenticated?: boolean;
}
