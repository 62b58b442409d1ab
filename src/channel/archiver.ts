import type { ArchiveBatch, HistoryStore } from "../archive/store.ts";
import { causeOf, logFailure } from "../shared/logging.ts";
import type { StoredMessage } from "../protocol/frames.ts";
import { withDeadline } from "../shared/deadline.ts";
import type { MessageLog } from "./message-log.ts";
import type { Metrics } from "./metrics.ts";
import type { SetAside } from "./set-aside.ts";

/** How long new messages wait, so that one request to D1 can store more of them. */
export const ARCHIVE_DELAY_MS = 1_000;

/** The backlog that is archived at once, without that delay. */
const URGENT_BACKLOG = 1_000;

/**
 * The largest number of messages in a batch. D1 stores this many short messages quickly, and a backlog needs few
 * requests.
 */
const MAX_BATCH_ROWS = 2_000;
/**
 * The largest text of a batch, in bytes of UTF-8. A JSON text at most doubles when it is written as a JSON string, so a
 * batch stays below the 2,000,000 bytes that SQLite and D1 accept for one text.
 */
const MAX_BATCH_BYTES = 600_000;

/** The time limit for D1 to store a batch. */
const STORE_TIMEOUT_MS = 15_000;
/** The time after which a run sends no further batch. The platform ends alarms that run for minutes. */
const MAX_RUN_MS = 5_000;

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 60_000;

/**
 * The number of consecutive runs that may fail with the same single message before it is set aside, if the error does
 * not say whether the message or D1 is the cause.
 */
const MAX_UNCLEAR_FAILURES = 5;

/** Errors of SQLite and D1 about the contents of a statement. An outage of D1 never causes these. */
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
 * Moves messages from the log to D1, in order and in batches. It retries forever, and no message blocks the messages
 * after it: after a failure the batches get smaller, and a single message that D1 refuses is set aside.
 */
export class Archiver {
  readonly #deps: ArchiverDeps;
  /** The largest number of messages in the next batch. Failures halve it, successes double it. */
  #batchRows = MAX_BATCH_ROWS;
  /** The number of consecutive failed runs, and the time of the next run, in milliseconds since the epoch. */
  #failures = 0;
  #retryAt = 0;
  #isRunning = false;

  constructor(deps: ArchiverDeps) {
    this.#deps = deps;
  }

  /** The number of consecutive failed runs. */
  get failures(): number {
    return this.#failures;
  }

  /** When to start a run, in milliseconds since the epoch; Infinity if nothing waits or a run is in progress. */
  get nextRun(): number {
    const { log, setAside } = this.#deps;
    if (this.#isRunning) return Infinity;
    if (log.backlog === 0) return setAside.nextTry;
    if (this.#failures > 0) return this.#retryAt;
    // A large backlog is archived at once, so that the log keeps room.
    return Date.now() + (log.backlog < URGENT_BACKLOG ? ARCHIVE_DELAY_MS : 0);
  }

  /**
   * Archives the messages that wait now. Messages that arrive during the run are left for the next one, so each run
   * ends. Never throws.
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

  /** Finds out whether a message of the batch or D1 caused a failure. Throws `error` if D1 did. */
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
    // D1 may have recovered in the meantime, so try the message once more.
    if (await succeeds(this.#store(batch))) log.markArchived(last);
    else this.#putAside(last, error);
  }

  /** Sets a message aside and marks it as archived, so that the messages after it can be archived. */
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
 * Returns the delay before the next attempt, in milliseconds. It doubles from one second to one minute, and is
 * shortened at random by up to a half, so that the channels of one database do not all retry at once.
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

function batchOf({ seq, time, action, client, database, type, payload }: StoredMessage): ArchiveBatch {
  const rows = JSON.stringify([[seq, time, action, client === null ? null : 0, database, payload, type]]);
  return { rows, clients: JSON.stringify(client === null ? [] : [client]), count: 1, last: seq, since: time };
}
