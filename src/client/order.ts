import { type ChannelError, isRetryable } from "./errors.ts";
import { pagesOf } from "./history.ts";
import type { JoinFrame, Message } from "./messages.ts";
import type { Server } from "./server.ts";

/** What a channel that came back tells about the time in between. */
export interface Resumed {
  /** How many messages were missed and have been delivered now. */
  missed: number;
  /** Whether that is all; false where the server can no longer give, or does not show, what was missed. */
  complete: boolean;
}

interface Needs {
  server: Server;
  channel: string;
  /** The last `seq` seen in an earlier life. */
  after: number | undefined;
  /** Called with each message once, in the order of `seq`. */
  deliver: (message: Message) => void;
  resumed: (resumed: Resumed) => void;
  reconnect: () => void;
}

/** Makes each message come once and in order, whatever happens to connections in between. */
export class Order {
  readonly #needs: Needs;
  /** The last `seq` seen; undefined before the first join. */
  #last: number | undefined;
  /** Set while missed messages arrive: where they end, how many there are, and how many are still to come. */
  #resuming: { until: number; missed: number; left: number } | undefined;
  /** Live messages that wait until those before them were fetched. */
  #waiting: Message[] | undefined;

  constructor(needs: Needs) {
    this.#needs = needs;
    this.#last = needs.after;
  }

  /** The last `seq` seen: where to resume. */
  get last(): number | undefined {
    return this.#last;
  }

  /** Forgets what the lost connection was about to bring; the next one brings it again. */
  interrupt(): void {
    this.#waiting = undefined;
    this.#resuming = undefined;
  }

  joined({ options, payload }: JoinFrame): void {
    const { seq, resumed, replayed = 0 } = options;
    if (this.#last === undefined) {
      if (!payload.history) this.begin([], seq);
    } else if (resumed) {
      this.#resuming = { until: seq, missed: replayed, left: replayed };
      this.#finishResuming();
    } else {
      void this.#fetchMissed(this.#last, seq);
    }
  }

  /** Starts at `seq`, the channel's last one, behind the history that was asked for. */
  begin(history: readonly Message[], seq: number): void {
    for (const message of history) this.#deliver(message);
    this.#last = Math.max(this.#last ?? 0, seq);
  }

  live(message: Message): void {
    if (this.#waiting) this.#waiting.push(message);
    else this.#deliver(message);
  }

  #deliver(message: Message): void {
    const { seq } = message.options;
    if (seq <= (this.#last ?? 0)) return;
    this.#last = seq;
    this.#needs.deliver(message);
    if (this.#resuming) this.#resuming.left -= 1;
    this.#finishResuming();
  }

  #finishResuming(): void {
    if (!this.#resuming || this.#resuming.left > 0) return;
    const { missed, until } = this.#resuming;
    this.#resuming = undefined;
    // The last of what was missed may have been for others only.
    this.#last = Math.max(this.#last ?? 0, until);
    this.#needs.resumed({ missed, complete: true });
  }

  /** Pages through what cannot be replayed, while live messages wait for their turn (RES2). */
  async #fetchMissed(after: number, until: number): Promise<void> {
    const { server, channel } = this.#needs;
    const waiting: Message[] = [];
    this.#waiting = waiting;
    const missed: Message[] = [];
    let complete = after <= until;
    try {
      const range = { after, before: until + 1, limit: 1_000 };
      if (complete) for await (const page of pagesOf(server, channel, range)) missed.push(...page);
    } catch (error) {
      if (this.#waiting !== waiting) return;
      if (isRetryable(error as ChannelError)) return this.#needs.reconnect();
      complete = false;
    }
    if (this.#waiting !== waiting) return; // Joined anew meanwhile; that join sees to it.
    this.#waiting = undefined;
    // A position from the future: the channel is not the one that it was, so its numbering is taken as it is now.
    if (after > until) this.#last = until;
    for (const message of [...missed, ...waiting]) this.#deliver(message);
    this.#last = Math.max(this.#last ?? 0, until);
    this.#needs.resumed({ missed: missed.length, complete });
  }
}
