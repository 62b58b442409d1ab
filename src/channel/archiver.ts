import type { ArchiveBatch, HistoryStore } from "../archive/store.ts";
import { causeOf, logFailure } from "../shared/logging.ts";
import type { StoredMessage } from "../protocol/frames.ts";
import { withDeadline } from "../shared/deadline.ts";
import type { MessageLog } from "./message-log.ts";
import type { Metrics } from "./metrics.ts";
import type { SetAside } from "./set-aside.ts";

/** How long new messages wait for others to share their trip to D1, in milliseconds. */
export const ARCHIVE_DELAY_MS = 1_000;

/** How many messages make a trip to D1 of their own, at once. */
const URGENT_BACKLOG = 1_000;

/** How many messages a batch holds. Of short ones D1 stores this many quickly, and a backlog needs few trips. */
const MAX_BATCH_ROWS = 2_000;
/**
 * How much text a batch holds, in bytes of UTF-8. JSON texts at most double when they are written as JSON strings, so a batch
 * stays below the 2,000,000 bytes that SQLite and D1 take for one text.
 */
const MAX_BATCH_BYTES = 600_000;

/** How long D1 may take to store a batch, in milliseconds. */
const STORE_TIMEOUT_MS = 15_000;
/** After this time a run sends no further batch, in milliseconds: the platform ends alarms that run for minutes. */
const MAX_RUN_MS = 5_000;

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;

/**
 * How many runs in a row may fail with one message before it is set aside, when the error does not say whether the message
 * or D1 is the cause.
 */
const MAX_UNCLEAR_FAILURES = 5;

/** What SQLite and D1 say of a statement whose contents they refuse; a fault of D1's own never reads like this. */
const REFUSAL = /SQLITE_(?:TOOBIG|NOMEM|MISMATCH|CONSTRAINT)|D1_TYPE_ERROR|malformed JSON/;

export interface ArchiverDeps {
  /** The channel's name. */
  channel: string;
  log: MessageLog;
  setAside: SetAside;
  archive: HistoryStore;
  metrics: Metrics;
}

/**
 * Moves messages from the log to D1, in order and in batches. It never gives up, and no message stops those after it:
 * after a failure batches get smaller, and a single message that D1 refuses is set aside.
 */
export class Archiver {
  readonly #deps: ArchiverDeps;
  /** How many messages the next batch may hold. Failures halve it, successes double it. */
  #batchRows = MAX_BATCH_ROWS;
  /** How many runs failed in a row, and when the next one may begin, in milliseconds since the epoch. */
  #failures = 0;
  #retryAt = 0;
  #isRunning = false;

  constructor(deps: ArchiverDeps) {
    this.#deps = deps;
  }

  /** How many runs failed in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** When a run is to begin, in milliseconds since the epoch; Infinity when nothing waits or a run is under way. */
  get nextRun(): number {
    const { log, setAside } = this.#deps;
    if (this.#isRunning) return Infinity;
    if (log.backlog === 0) return setAside.nextTry;
    if (this.#failures > 0) return this.#retryAt;
    // A burst does not wait for more messages, so that the log has room for all of it.
    return Date.now() + (log.backlog < URGENT_BACKLOG ? ARCHIVE_DELAY_MS : 0);
  }

  /**
   * Archives what waits now. Messages that arrive meanwhile are for the next run, so a run ends however steady the traffic
   * is. Never throws.
   */
  async run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      const endsAt = Date.now() + MAX_RUN_MS;
      await this.#archiveBacklog(endsAt);
      await this.#retrySetAside(endsAt);
      this.#failures = 0;
    } catch (error) {
      this.#noteFailure(error);
    } finally {
      this.#isRunning = false;
    }
  }

  async #archiveBacklog(endsAt: number): Promise<void> {
    const { log } = this.#deps;
    const last = log.last;
    while (log.archived < last && Date.now() < endsAt) {
      const batch = log.unarchived(this.#batchRows, MAX_BATCH_BYTES);
      if (!batch) return;
      try {
        await this.#store(batch);
        log.markArchived(batch.last);
        this.#batchRows = Math.min(MAX_BATCH_ROWS, this.#batchRows * 2);
      } catch (error) {
        await this.#narrowDown(batch, error);
      }
    }
  }

  /** Finds out whether a message of a batch is the cause of a failure. Throws the failure when D1 is. */
  async #narrowDown(batch: ArchiveBatch, error: unknown): Promise<void> {
    const { count, last } = batch;
    const isRefusal = REFUSAL.test(causeOf(error));
    this.#batchRows = Math.max(1, Math.floor(count / 2));
    if (count > 1) {
      if (isRefusal) return;
      throw error;
    }
    if (!isRefusal && this.#failures < MAX_UNCLEAR_FAILURES) throw error;
    const { archive, channel, log } = this.#deps;
    if (!(await succeeds(withDeadline(STORE_TIMEOUT_MS, archive.probe(channel))))) throw error;
    // D1 may have been away and be back, so the message is offered once more.
    if (await succeeds(this.#store(batch))) log.markArchived(last);
    else this.#putAside(last, error);
  }

  /** Keeps a message elsewhere in this object, and counts it as archived: those after it go on. */
  #putAside(seq: number, error: unknown): void {
    const { channel, log, setAside } = this.#deps;
    for (const message of log.read({ from: seq, to: seq })) setAside.add(message);
    log.markArchived(seq);
    logFailure("message not archivable", error, { channel, seq });
  }

  async #retrySetAside(endsAt: number): Promise<void> {
    const { setAside } = this.#deps;
    for (let message = setAside.due(); message && Date.now() < endsAt; message = setAside.due()) {
      try {
        await this.#store(batchOf(message));
        setAside.remove(message.seq);
      } catch {
        setAside.postpone(message.seq);
      }
    }
  }

  #store(batch: ArchiveBatch): Promise<void> {
    const { archive, channel, metrics } = this.#deps;
    return metrics.time(batch, withDeadline(STORE_TIMEOUT_MS, archive.append(channel, batch)));
  }

  #noteFailure(error: unknown): void {
    const { channel, log } = this.#deps;
    this.#failures += 1;
    this.#retryAt = Date.now() + retryDelayMs(this.#failures, Math.random());
    logFailure("archiving failed", error, { channel, failures: this.#failures, backlog: log.backlog });
  }
}

/**
 * Returns how long to wait before trying again, in milliseconds: doubling from one second to one minute, less up to half at
 * random, so that the channels of one database do not all return at once.
 *
 * @param failures How many attempts failed in a row, 1 or more.
 * @param random A number in [0, 1).
 */
export function retryDelayMs(failures: number, random: number): number {
  const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
  return Math.round(ceiling * (1 - random / 2));
}

function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

function batchOf({ seq, time, action, client, database, payload }: StoredMessage): ArchiveBatch {
  const rows = JSON.stringify([[seq, time, action, client === null ? null : 0, database, payload]]);
  return { rows, clients: JSON.stringify(client === null ? [] : [client]), count: 1, last: seq, since: time };
}
