/** Maximum throughput: each publisher sends its next message when the previous one is answered. */
export interface Throughput {
  kind: "throughput";
  publishers: number;
  subscribers: number;
  /** Messages per request. */
  batch: number;
  /**
   * Whether messages are published over HTTP, sent over sockets with one message per frame, or published over one socket
   * that acknowledges each, with as many messages in flight as there are publishers times messages per request.
   */
  over: "posts" | "sockets" | "acks";
}

/** A fixed rate that does not wait for the server. Latencies count from a message's planned sending. */
export interface Paced {
  kind: "paced";
  subscribers: number;
  /** Messages per second. */
  rate: number;
  over: "posts" | "acks";
}

/** One message to each of many channels, 64 at a time. */
export interface Channels {
  kind: "channels";
  channels: number;
}

/** Idle sockets: this many, or as many as the system allows one process to open. */
export interface Idle {
  kind: "idle";
  sockets: number;
}

/** Clients that connect at once, and then again after missing a number of messages. */
export interface Storm {
  kind: "storm";
  clients: number;
  missed: number;
}

export type Workload = Throughput | Paced | Channels | Idle | Storm;

const throughput = (
  publishers: number,
  subscribers: number,
  { batch = 1, over = "posts" }: Partial<Pick<Throughput, "batch" | "over">> = {},
): Throughput => ({
  kind: "throughput",
  publishers,
  subscribers,
  batch,
  over,
});

/** The workloads by their names in the table: publishers/subscribers. */
export const WORKLOADS: Record<string, Workload> = {
  "1/1": throughput(1, 1),
  "64/1": throughput(64, 1),
  "1/100": throughput(1, 100),
  "64/100": throughput(64, 100),
  "4/1000": throughput(4, 1_000),
  "socket 64/1": throughput(64, 1, { over: "sockets" }),
  "socket 64/100": throughput(64, 100, { over: "sockets" }),
  "16x100/1": throughput(16, 1, { batch: 100 }),
  "16x100/100": throughput(16, 100, { batch: 100 }),
  "acks 64/1": throughput(64, 1, { over: "acks" }),
  "acks 64/100": throughput(64, 100, { over: "acks" }),
  "acks 16x100/1": throughput(16, 1, { batch: 100, over: "acks" }),
  "paced 1/1": { kind: "paced", subscribers: 1, rate: 100, over: "posts" },
  "paced 1/100": { kind: "paced", subscribers: 100, rate: 100, over: "posts" },
  "paced acks 1/1": { kind: "paced", subscribers: 1, rate: 100, over: "acks" },
  channels: { kind: "channels", channels: 10_000 },
  idle: { kind: "idle", sockets: 10_000 },
  storm: { kind: "storm", clients: 1_000, missed: 100 },
};
