import type { StandardSchemaV1 } from "@standard-schema/spec";

export interface ChannelOptions<In = unknown, Out = In> {
  /** Ask for the latest messages on the first join. */
  history?: boolean;
  /** Ask who is here, and be told who comes and goes. */
  presence?: boolean;
  /** Resume behind this `seq`, which was seen in an earlier life. */
  after?: number;
  /** What payloads must be, by any validator that speaks Standard Schema; it must validate synchronously. */
  schema?: StandardSchemaV1<In, Out>;
}

export interface PublishOptions {
  /** Stands for this message and no other; a fresh one by default (IDM1). */
  idempotencyKey?: string;
}

export interface SendOptions {
  /** The socketId of the one client that it is for. It is not stored then. */
  to?: string;
  /** For authenticated clients only (FRA4). */
  authenticated?: boolean;
}
