import type { ArchiveBatch } from "../archive/store.ts";

/**
 * The largest index of Analytics Engine, in bytes
 * (https://developers.cloudflare.com/analytics/analytics-engine/limits/).
 */
const MAX_INDEX_BYTES = 96;

/** The state of a channel after a run of the archiver. */
interface ChannelStatus {
  /** The number of sockets that have joined. */
  joined: number;
  /** The number of messages that are not archived yet. */
  backlog: number;
  /** The number of consecutive failed runs of the archiver. */
  failures: number;
}

/**
 * Counts one channel's activity for Workers Analytics Engine. The counts are in memory, and are written as one data
 * point after each run of the archiver. So there is at most about one data point per second, and never one per message.
 */
export class Metrics {
  readonly #channel: string;
  readonly #dataset: AnalyticsEngineDataset | undefined;
  /** Messages delivered live, counted once per subscriber. */
  deliveries = 0;
  /** Errors sent to sockets. */
  refusals = 0;
  /** Sockets closed because their clients were slow or gone. */
  dropped = 0;
  #archived = 0;
  /**
   * The longest time that a message waited before its batch was sent to D1, and the total time of the requests to D1,
   * in milliseconds.
   */
  #longestWaitMs = 0;
  #storeMs = 0;

  /** @param dataset Receives the data points. Without it, nothing is written. */
  constructor(channel: string, dataset?: AnalyticsEngineDataset) {
    this.#channel = channel;
    this.#dataset = dataset;
  }

  /** Measures the storing of a batch. Rejects if `stored` does. */
  async time({ count, since }: ArchiveBatch, stored: Promise<void>): Promise<void> {
    const began = Date.now();
    this.#longestWaitMs = Math.max(this.#longestWaitMs, began - since);
    try {
      await stored;
      this.#archived += count;
    } finally {
      this.#storeMs += Date.now() - began;
    }
  }

  /**
   * Writes the counts since the last report, if anything happened. docs/guides/operating.md lists the order of the
   * numbers.
   */
  report({ joined, backlog, failures }: ChannelStatus): void {
    const happened = [this.#archived, this.deliveries, this.refusals, this.dropped];
    if (backlog === 0 && happened.every((count) => count === 0)) return;
    this.#dataset?.writeDataPoint({
      // Names are ASCII, so characters are bytes.
      indexes: [this.#channel.slice(0, MAX_INDEX_BYTES)],
      blobs: ["channel", this.#channel],
      doubles: [...happened, joined, backlog, failures, this.#longestWaitMs, this.#storeMs],
    });
    this.deliveries = this.refusals = this.dropped = this.#archived = this.#longestWaitMs = this.#storeMs = 0;
  }
}
