import type { ArchiveBatch } from "../archive/store.ts";

/** Bytes that an index of Analytics Engine may have (https://developers.cloudflare.com/analytics/analytics-engine/limits/). */
const MAX_INDEX_BYTES = 96;

/** How a channel stands after an archiving. */
interface Standing {
  /** How many sockets have joined. */
  joined: number;
  /** How many messages wait for the archive. */
  backlog: number;
  /** How many archivings failed in a row. */
  failures: number;
}

/**
 * The numbers of one channel, for Workers Analytics Engine. They are counted in memory, and written as one point when the
 * archiving alarm has run: so never a point a message, and at most about one a second.
 */
export class Metrics {
  readonly #channel: string;
  readonly #dataset: AnalyticsEngineDataset | undefined;
  /** Messages delivered live: one for each subscriber. */
  deliveries = 0;
  /** Errors that sockets were told. */
  refusals = 0;
  /** Sockets closed because they were too slow, or gone. */
  dropped = 0;
  #archived = 0;
  /** The longest that a message waited for its trip to D1, and how long the trips took, in milliseconds. */
  #waited = 0;
  #took = 0;

  /** @param dataset Where the points go; without it there are none. */
  constructor(channel: string, dataset?: AnalyticsEngineDataset) {
    this.#channel = channel;
    this.#dataset = dataset;
  }

  /** Notes how a batch came to D1, and passes the outcome on. */
  async time({ count, since }: ArchiveBatch, stored: Promise<void>): Promise<void> {
    const began = Date.now();
    this.#waited = Math.max(this.#waited, began - since);
    try {
      await stored;
      this.#archived += count;
    } finally {
      this.#took += Date.now() - began;
    }
  }

  /** Writes what happened since the last report, if anything did. Which number is which: docs/guides/operating.md. */
  report({ joined, backlog, failures }: Standing): void {
    const happened = [this.#archived, this.deliveries, this.refusals, this.dropped];
    if (backlog === 0 && happened.every((count) => count === 0)) return;
    this.#dataset?.writeDataPoint({
      // Names are ASCII, so characters are bytes.
      indexes: [this.#channel.slice(0, MAX_INDEX_BYTES)],
      blobs: ["channel", this.#channel],
      doubles: [...happened, joined, backlog, failures, this.#waited, this.#took],
    });
    this.deliveries = this.refusals = this.dropped = this.#archived = this.#waited = this.#took = 0;
  }
}
