import { Backoff } from "./backoff.ts";
import { ChannelError, isRetryable } from "./errors.ts";
import { positionOf, readPage } from "./history.ts";
import type { JoinFrame, Message } from "./messages.ts";
import type { Server } from "./server.ts";

/** What a channel reports after it has reconnected. */
export interface Resumed {
  /** How many missed messages have been delivered. */
  missed: number;
  /** Whether these are all missed messages. False if the server could not, or may not, send some of them. */
  complete: boolean;
}

interface MessageSequencerDeps {
  server: Server;
  channel: string;
  /** The last `seq` that was received before this channel was created, for example before a reload. */
  after: number | undefined;
  /** Called with each message once, in the order of `seq`. */
  deliver: (message: Message) => void;
  /** Called when the missed messages have been delivered. */
  resumed: (resumed: Resumed) => void;
}

/** The limits of the live messages that are held while the client pages through missed ones; characters are UTF-16 units of JSON. */
export const MAX_HELD_MESSAGES = 1_000;
export const MAX_HELD_CHARACTERS = 4 * 1024 * 1024;

/** The largest page that the server allows (HIS2). */
const PAGE_MESSAGES = 1_000;

/** Missed messages that the server replays after the join (RES1). */
interface Replay {
  /** The channel's last `seq` at the join. Messages up to this `seq` were missed; later ones are live. */
  joinedAt: number;
  /** How many messages have not arrived yet. */
  left: number;
}

/** Missed messages that the client reads page by page (RES2). */
interface CatchUp extends Pick<Replay, "joinedAt"> {
  /** The client reads pages up to this `seq`. Every later message is in `held` or has not arrived yet. */
  until: number;
  held: Message[];
  heldCharacters: number;
}

/** Delivers each message once and in order, even if the connection is lost in between. */
export class MessageSequencer {
  readonly #deps: MessageSequencerDeps;
  readonly #backoff = new Backoff();
  /** The last `seq` received. Undefined before the first join. */
  #last: number | undefined;
  #replay: Replay | undefined;
  #catchUp: CatchUp | undefined;
  /** How many missed messages were delivered since the last `resumed`, over all connections since then. */
  #missed = 0;
  #isClosed = false;

  constructor(deps: MessageSequencerDeps) {
    this.#deps = deps;
    this.#last = deps.after;
  }

  /** The last `seq` received. Resume after it. */
  get last(): number | undefined {
    return this.#last;
  }

  /** Call this when the connection is lost. The next one resumes after `last`. */
  interrupt(): void {
    this.#replay = undefined;
    this.#catchUp = undefined;
    this.#backoff.end();
  }

  /** Call this when the network may be back. A page that failed is then requested again at once. */
  wake(): void {
    this.#backoff.wake();
  }

  /** Delivers nothing more. `last` stays at the last message that was delivered. */
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
      // This client was ahead of the channel, or the channel shows no history: continue with live messages only.
      this.#last = seq;
      this.#resume(false);
    }
  }

  /** Delivers the requested history and continues after `seq`, the channel's last one. */
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
    // The last missed messages may not have been visible to this client.
    this.#moveTo(joinedAt);
    this.#resume(true);
  }

  /** Reads missed messages page by page, if the server does not replay them. Holds live messages meanwhile. */
  async #readMissed(joinedAt: number): Promise<void> {
    const catchUp = { joinedAt, until: joinedAt, held: [], heldCharacters: 0 };
    this.#catchUp = catchUp;
    // The connection is new, so the first page need not wait.
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
    const range = { after, before: until + 1, limit: PAGE_MESSAGES };
    const { messages, next } = await readPage(this.#deps.server, this.#deps.channel, range);
    this.#backoff.succeeded();
    if (this.#catchUp !== catchUp) return;
    // A page is empty if none of its messages is visible to this client. The position still moves.
    const end = next === null ? until : positionOf(next);
    if (!(end > after)) throw new ChannelError("unexpected", "The next page of the history is the same page again.");
    for (const message of messages) this.#deliver(message);
    this.#moveTo(end);
  }

  /** Holds a live message for later. Beyond the limits it drops all held messages, and the client reads them from the history. */
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
