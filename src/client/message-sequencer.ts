import { Backoff } from "./backoff.ts";
import { ChannelError, isRetryable } from "./errors.ts";
import { positionOf, readPage } from "./history.ts";
import type { JoinFrame, Message } from "./messages.ts";
import type { Server } from "./server.ts";

/** What a channel that came back tells about the time in between. */
export interface Resumed {
  /** How many messages were missed and have been delivered now. */
  missed: number;
  /** Whether that is all; false where the server can no longer give, or does not show, what was missed. */
  complete: boolean;
}

interface MessageSequencerDeps {
  server: Server;
  channel: string;
  /** The last `seq` seen in an earlier life. */
  after: number | undefined;
  /** Called with each message once, in the order of `seq`. */
  deliver: (message: Message) => void;
  resumed: (resumed: Resumed) => void;
}

/** How many live messages are held while missed ones are read by pages, and how much JSON text, in UTF-16 units. */
export const MAX_HELD_MESSAGES = 1_000;
export const MAX_HELD_CHARACTERS = 4 * 1024 * 1024;

/** Messages in a page of missed ones: as many as the server allows (HIS2). */
const PAGE_SIZE = 1_000;

/** Missed messages that the server replays after the join (RES1). */
interface Replay {
  /** The channel's last `seq` at the join: messages up to here were missed, later ones are live. */
  joinedAt: number;
  /** How many messages are still to come. */
  left: number;
}

/** Missed messages that are read by pages (RES2). */
interface CatchUp extends Pick<Replay, "joinedAt"> {
  /** Pages are read up to this `seq`. Every later message is held, or has yet to be received. */
  until: number;
  held: Message[];
  heldCharacters: number;
}

/** Makes each message come once and in order, whatever happens to connections in between. */
export class MessageSequencer {
  readonly #deps: MessageSequencerDeps;
  readonly #backoff = new Backoff();
  /** The last `seq` seen; undefined before the first join. */
  #last: number | undefined;
  #replay: Replay | undefined;
  #catchUp: CatchUp | undefined;
  /** How many missed messages were delivered since the last `resumed`, over however many connections. */
  #missed = 0;
  #isClosed = false;

  constructor(deps: MessageSequencerDeps) {
    this.#deps = deps;
    this.#last = deps.after;
  }

  /** The last `seq` seen: where to resume. */
  get last(): number | undefined {
    return this.#last;
  }

  /** The connection is lost. The next one goes on after `last`. */
  interrupt(): void {
    this.#replay = undefined;
    this.#catchUp = undefined;
    this.#backoff.end();
  }

  /** The network may be back, so a page that failed is requested again without a pause. */
  wake(): void {
    this.#backoff.wake();
  }

  /** Delivers nothing more; `last` stays at the last message delivered. */
  close(): void {
    this.#isClosed = true;
    this.interrupt();
  }

  joined({ options, payload }: JoinFrame): void {
    const { seq, resumed, replayed = 0, reason } = options;
    if (this.#last === undefined) {
      if (!payload.history) this.begin([], seq);
    } else if (resumed) {
      this.#replay = { joinedAt: seq, left: replayed };
      this.#finishReplay();
    } else if (reason === "too-far-behind") {
      void this.#readMissed(seq);
    } else {
      // The numbering begins again at a position that is ahead; a channel without history goes on with what is live.
      this.#last = seq;
      this.#resume(false);
    }
  }

  /** Starts at `seq`, the channel's last one, after the history that was asked for. */
  begin(history: readonly Message[], seq: number): void {
    for (const message of history) this.#deliver(message);
    this.#moveTo(seq);
  }

  live(message: Message): void {
    if (this.#catchUp) this.#hold(message, this.#catchUp);
    else this.#deliver(message);
  }

  #deliver(message: Message): void {
    const { seq } = message.options;
    if (this.#isClosed || seq <= (this.#last ?? 0)) return;
    this.#last = seq;
    if (seq <= ((this.#replay ?? this.#catchUp)?.joinedAt ?? 0)) this.#missed += 1;
    this.#deps.deliver(message);
    if (this.#replay) this.#replay.left -= 1;
    this.#finishReplay();
  }

  #finishReplay(): void {
    if (!this.#replay || this.#replay.left > 0) return;
    const { joinedAt } = this.#replay;
    this.#replay = undefined;
    // The last of what was missed may have been for others only.
    this.#moveTo(joinedAt);
    this.#resume(true);
  }

  /** Delivers page by page what cannot be replayed; live messages are held meanwhile. */
  async #readMissed(joinedAt: number): Promise<void> {
    const catchUp = { joinedAt, until: joinedAt, held: [], heldCharacters: 0 };
    this.#catchUp = catchUp;
    // The connection is as new as this catch-up.
    this.#backoff.wake();
    const isComplete = await this.#readPages(catchUp);
    if (this.#catchUp !== catchUp) return;
    this.#catchUp = undefined;
    for (const message of catchUp.held) this.#deliver(message);
    this.#resume(isComplete);
  }

  /** Returns whether the server gave every page. Returns early if the catch-up was interrupted. */
  async #readPages(catchUp: CatchUp): Promise<boolean> {
    while (this.#catchUp === catchUp && (this.#last ?? 0) < catchUp.until) {
      try {
        await this.#backoff.pause();
        if (this.#catchUp === catchUp) await this.#readPage(catchUp);
      } catch (error) {
        if (this.#catchUp !== catchUp) return false;
        if (isRetryable(error as ChannelError)) {
          this.#backoff.failed(error as ChannelError);
        } else {
          this.#moveTo(catchUp.until);
          return false;
        }
      }
    }
    return true;
  }

  async #readPage(catchUp: CatchUp): Promise<void> {
    const { until } = catchUp;
    const after = this.#last ?? 0;
    const range = { after, before: until + 1, limit: PAGE_SIZE };
    const { messages, next } = await readPage(this.#deps.server, this.#deps.channel, range);
    this.#backoff.succeeded();
    if (this.#catchUp !== catchUp) return;
    // A page may be empty, as its messages were for others only: the position moves all the same.
    const end = next === null ? until : positionOf(next);
    if (!(end > after)) throw new ChannelError("unexpected", "A page of history leads back to itself.");
    for (const message of messages) this.#deliver(message);
    this.#moveTo(end);
  }

  /** Holds a live message for later. Where that is too much, nothing is held: history has those messages, too. */
  #hold(message: Message, catchUp: CatchUp): void {
    catchUp.held.push(message);
    catchUp.heldCharacters += JSON.stringify(message).length;
    if (catchUp.held.length <= MAX_HELD_MESSAGES && catchUp.heldCharacters <= MAX_HELD_CHARACTERS) return;
    catchUp.until = message.options.seq;
    catchUp.held = [];
    catchUp.heldCharacters = 0;
  }

  #moveTo(seq: number): void {
    if (!this.#isClosed) this.#last = Math.max(this.#last ?? 0, seq);
  }

  #resume(complete: boolean): void {
    const missed = this.#missed;
    this.#missed = 0;
    this.#deps.resumed({ missed, complete });
  }
}
