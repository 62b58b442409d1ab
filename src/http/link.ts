import { withDeadline } from "../channel/deadline.ts";
import { isFinal } from "../protocol/close.ts";
import { ERRORS, type Fault, refuse, type Result } from "../protocol/errors.ts";
import { leaveFrame } from "../protocol/frames.ts";
import { Heartbeat, HEARTBEAT_REQUEST } from "../protocol/heartbeat.ts";
import { FRAMES_AT_ONCE } from "../protocol/limits.ts";
import type { ClientFrame } from "../protocol/schemas.ts";
import { utf8Length } from "../protocol/utf8.ts";
import { CatchUp, type ServerFrame } from "./catch-up.ts";
import type { OpenChannel } from "./multiplexer.ts";

/** The delay before each attempt to reach the channel. A join that is answered in full starts them again. */
const RETRY_DELAYS_MS = [0, 100, 500, 1_500, 4_000];

/** How long one attempt to open a socket may take. */
const OPEN_TIMEOUT_MS = 10_000;

/**
 * Client frames kept while the channel cannot be reached. The object gets them all at once over a new socket, together with
 * the link's own join, and must not find that too fast (LIM6).
 */
export const MAX_WAITING_FRAMES = FRAMES_AT_ONCE - 10;

interface LinkDeps {
  channel: string;
  open: () => ReturnType<OpenChannel>;
  /** Sends a text to the client. `isCatchUp`: the text belongs to the answer to a join. */
  deliver: (text: string, isCatchUp?: boolean) => void;
  /** The channel does not admit the client. */
  refused: (fault: Fault) => void;
  /** This link is finished: the client left, or the channel refused it or closed its socket for good. */
  ended: () => void;
  /** The channel cannot be reached any more, or not without a gap. */
  lost: () => void;
}

/** A frame from the client, with its text and the text's length in bytes. */
interface ClientRequest {
  frame: ClientFrame;
  text: string;
  bytes: number;
}

/**
 * Connects a multiplexed connection to one of its channels. If the channel object is reset, the link joins again after
 * the last `seq` that it passed on: the client misses nothing, receives nothing twice, and does not notice.
 */
export class ChannelLink {
  readonly #deps: LinkDeps;
  readonly #heartbeat = new Heartbeat(() => this.#transmit(HEARTBEAT_REQUEST));
  /** Frames to send once the channel can be reached, in order. */
  #waiting: ClientRequest[] = [];
  /** Frames that were sent over the current socket and whose answers have not arrived, in order; without messages. */
  #unanswered: ClientRequest[] = [];
  #socket: WebSocket | undefined;
  #isClosed = false;
  /** The last `seq` that was passed on; undefined while the client has not joined. */
  #position: number | undefined;
  /** Whether the client's last answered join asked for presence. */
  #wantsPresence = false;
  /** The answer to a join, while it arrives. */
  #catchUp: CatchUp | undefined;
  /** Whether the link's own join is under way, which the client knows nothing of. */
  #isRejoining = false;
  /** Whether the client sent a `leave` and no `join` after it: the answer to the `leave` ends this link. */
  #isLeaving = false;
  /** Whether anything arrived from the object since the last heartbeat that was due. */
  #hasHeard = false;
  #attempts = 0;

  constructor(deps: LinkDeps) {
    this.#deps = deps;
    void this.#connect();
  }

  /** How much text waits for the channel, in bytes. */
  get waitingBytes(): number {
    return this.#waiting.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Sends a client's frame on, or keeps it until the channel can be reached. */
  send(frame: ClientFrame, text: string): void {
    if (frame.action === "join" || frame.action === "leave") this.#isLeaving = frame.action === "leave";
    const request = { frame, text, bytes: utf8Length(text) };
    if (!this.#isRejoining && this.#pass(request)) return;
    if (this.#waiting.push(request) > MAX_WAITING_FRAMES) this.#lose();
    else this.#leaveUnconnected();
  }

  /** Sends a heartbeat. If the object has been silent since the previous one, the link replaces its socket. */
  beat(): void {
    if (!this.#socket) return;
    if (this.#heartbeat.waiting && !this.#hasHeard) return this.#broken();
    this.#hasHeard = false;
    this.#heartbeat.beat();
  }

  close(): void {
    this.#isClosed = true;
    this.#disconnect();
  }

  async #connect(): Promise<void> {
    let fault: Fault = { code: "unavailable", detail: "The channel cannot be reached just now.", retryAfter: 1 };
    while (this.#attempts < RETRY_DELAYS_MS.length) {
      const delay = RETRY_DELAYS_MS[this.#attempts++];
      await new Promise((resolve) => setTimeout(resolve, delay));
      if (this.#isClosed) return;
      const opened = await this.#open();
      if (opened.ok) return this.#attach(opened.value);
      fault = opened.fault;
      // An address over its limit is told so: more attempts would count, too.
      if (!ERRORS[fault.code].retryable || fault.code === "rate-limited") break;
    }
    if (this.#isClosed) return;
    if (this.#position === undefined || !ERRORS[fault.code].retryable) {
      this.#deps.refused(fault);
      this.#end();
    } else {
      this.#lose();
    }
  }

  /** Opens a socket to the channel object. One that opens too late is closed again. */
  async #open(): Promise<Result<WebSocket>> {
    const opening = this.#deps.open();
    try {
      return await withDeadline(OPEN_TIMEOUT_MS, opening);
    } catch {
      opening.then(
        (opened) => opened.ok && discard(opened.value),
        () => {},
      );
      return refuse("unavailable", "The channel did not answer in time.", { retryAfter: 1 });
    }
  }

  #attach(socket: WebSocket): void {
    if (this.#isClosed) return discard(socket);
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#hear(String(data));
    });
    socket.addEventListener("close", ({ code }) => this.#closed(socket, code));
    socket.addEventListener("error", () => this.#closed(socket, 1006));
    socket.accept();
    if (this.#position === undefined) return this.#flush();
    this.#isRejoining = true;
    this.#transmit(rejoinFrame(this.#position, this.#wantsPresence));
  }

  #flush(): void {
    while (this.#waiting[0] !== undefined && this.#pass(this.#waiting[0])) this.#waiting.shift();
  }

  /** Sends a client's frame to the object. Returns whether there was an open socket. */
  #pass(request: ClientRequest): boolean {
    if (!this.#transmit(request.text)) return false;
    if (request.frame.action !== "message") this.#unanswered.push(request);
    return true;
  }

  /** Returns whether there was an open socket. If it has just closed, its `close` event follows. */
  #transmit(text: string): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #hear(text: string): void {
    this.#hasHeard = true;
    if (this.#heartbeat.heard(text)) return;
    const frame = JSON.parse(text) as ServerFrame;
    if (frame.action === "error") return this.#error(frame, text);
    if (frame.action === "join") this.#catchUp = new CatchUp(frame, text);
    else if (this.#catchUp) this.#catchUp.add(frame, text);
    else return this.#live(frame, text);
    if (this.#isRejoining && frame.action === "join" && frame.options?.resumed !== true) this.#lose();
    else if (this.#catchUp.isComplete) this.#caughtUp(this.#catchUp);
  }

  #live({ action, options }: ServerFrame, text: string): void {
    if (action === "history" || action === "leave") this.#answered(action);
    if (action === "leave") this.#position = undefined;
    else if (this.#position !== undefined) this.#position = Math.max(this.#position, options?.seq ?? 0);
    this.#deps.deliver(text);
    if (action === "leave" && this.#isLeaving) this.#end();
  }

  /** Passes on the answer to a join. The `join` frame that answers the link's own join is not for the client. */
  #caughtUp({ texts, seq }: CatchUp): void {
    this.#catchUp = undefined;
    this.#attempts = 0;
    this.#position = seq;
    const isOwn = this.#isRejoining;
    this.#isRejoining = false;
    if (!isOwn) {
      const join = this.#answered("join");
      this.#wantsPresence = join?.action === "join" && join.payload?.presence === true;
    }
    for (const text of isOwn ? texts.slice(1) : texts) this.#deps.deliver(text, true);
    if (isOwn) this.#flush();
  }

  /**
   * Passes on an error. Only a refusal for asking too often (LIM13) says what it answers: the first unanswered frame. Otherwise
   * only a refused `join` or `history` matters here.
   */
  #error({ payload }: ServerFrame, text: string): void {
    const { code, field } = payload as Partial<Fault>;
    const isTooOften = code === "rate-limited" && field === "action";
    const action = this.#unanswered[0]?.frame.action;
    const isJoin = action === "join" && this.#position === undefined;
    if (isTooOften || action === "history" || isJoin) this.#unanswered.shift();
    this.#deps.deliver(text);
  }

  /** Forgets the first unanswered frame of this action, and all before it: the object answers in order. */
  #answered(action: ClientFrame["action"]): ClientFrame | undefined {
    const index = this.#unanswered.findIndex(({ frame }) => frame.action === action);
    return this.#unanswered.splice(0, index + 1).at(-1)?.frame;
  }

  #closed(socket: WebSocket, code: number): void {
    if (socket !== this.#socket) return;
    // The channel has told the client why: it is not admitted any longer.
    if (isFinal(code)) this.#end();
    else this.#broken();
  }

  /** Sends again over a new socket what was not answered over this one. */
  #broken(): void {
    this.#disconnect();
    this.#waiting.unshift(...this.#unanswered.splice(0));
    this.#leaveUnconnected();
    if (!this.#isClosed) void this.#connect();
  }

  /** Answers a `leave` that nothing waits before: there is no socket that would still have to leave. */
  #leaveUnconnected(): void {
    while (this.#waiting[0]?.frame.action === "leave") {
      this.#waiting.shift();
      this.#position = undefined;
      this.#deps.deliver(leaveFrame(this.#deps.channel));
      if (this.#isLeaving) this.#end();
    }
  }

  #disconnect(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#catchUp = undefined;
    this.#isRejoining = false;
    this.#heartbeat.reset();
    socket?.close(1000);
  }

  #end(): void {
    this.close();
    this.#deps.ended();
  }

  #lose(): void {
    this.close();
    this.#deps.lost();
  }
}

/** The missed messages take the place of the history. */
function rejoinFrame(after: number, presence: boolean): string {
  return JSON.stringify({ action: "join", options: { after }, payload: { history: false, presence } });
}

function discard(socket: WebSocket): void {
  socket.accept();
  socket.close(1000);
}
