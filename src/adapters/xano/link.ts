import { withDeadline } from "../../shared/deadline.ts";
import { isFinal } from "../../protocol/close.ts";
import { ERRORS, type Fault, refuse, type Result } from "../../protocol/errors.ts";
import { errorFrame, leaveFrame } from "../../protocol/frames.ts";
import { Heartbeat, HEARTBEAT_REQUEST } from "../../protocol/heartbeat.ts";
import { FRAMES_AT_ONCE, MAX_ARRAY_BYTES, MAX_ARRAY_FRAMES } from "../../protocol/limits.ts";
import type { ClientFrame } from "../../protocol/client-frame.ts";
import { asBatch } from "../../channel/fanout.ts";
import { CatchUp, type ServerFrame } from "./catch-up.ts";

/** The delay before each attempt to reach the channel. After a completely answered join, the attempts start again. */
const RETRY_DELAYS_MS = [0, 100, 500, 1_500, 4_000];

/** The time limit for one attempt to open a socket. */
const OPEN_TIMEOUT_MS = 10_000;

/**
 * The client frames that may wait while the channel cannot be reached. The object gets all of them at once over a new
 * socket, together with the link's own join, so they must be within the limit of LIM6.
 */
export const MAX_WAITING_FRAMES = FRAMES_AT_ONCE - 10;

/** Opens a socket to a channel object, with the identity of the connection's client. */
export type OpenChannel = (channel: string) => Promise<Result<WebSocket>>;

interface LinkDeps {
  channel: string;
  /** Whether the client has an API key, so that the object accepts any number of its frames. */
  isServer: boolean;
  open: () => ReturnType<OpenChannel>;
  /** Sends frames to the client. `isCatchUp`: whether they belong to the answer to a join. */
  deliver: (frames: readonly string[], isCatchUp?: boolean) => void;
  /** Called if this link is finished: the client left, or the channel refused it or closed its socket for good. */
  ended: () => void;
  /** Called if the channel cannot be reached any more, or not without a gap in the messages. */
  lost: () => void;
}

/** A frame from the client, and the length of its text in bytes. */
export interface ClientRequest {
  frame: ClientFrame;
  bytes: number;
}

/**
 * Connects a multiplexed connection to one of its channels. If the channel object is reset, the link joins again after
 * the last `seq` that it passed on. So the client misses nothing, receives nothing twice, and does not notice.
 */
export class ChannelLink {
  readonly #deps: LinkDeps;
  readonly #heartbeat = new Heartbeat(() => this.#transmit(HEARTBEAT_REQUEST));
  /** Frames to send once the channel can be reached, in order. */
  #waiting: ClientRequest[] = [];
  /**
   * Frames that were sent over the current socket and are not answered yet, in order. Messages without an id are not
   * among them, because they have no answer.
   */
  #unanswered: ClientRequest[] = [];
  #socket: WebSocket | undefined;
  #isClosed = false;
  /** The last `seq` that was passed on; undefined if the client has not joined. */
  #position: number | undefined;
  /** Whether the client's last answered join asked for presence. */
  #wantsPresence = false;
  /** The answer to a join, while it is incomplete. */
  #catchUp: CatchUp | undefined;
  /** Whether the link's own join is in progress. The client does not know of it. */
  #isRejoining = false;
  #hasJoined = false;
  /** Whether the client sent a `leave` and no `join` after it: the answer to the `leave` ends this link. */
  #isLeaving = false;
  /** The member's state, as the text of its last `presence` frame. A new socket needs it again. */
  #state: string | undefined;
  /** The id of the link's own frames. Their answers are not passed on. */
  readonly #ownId = crypto.randomUUID();
  /** Whether anything arrived from the object since the last heartbeat was due. */
  #hasReceived = false;
  #attempts = 0;

  constructor(deps: LinkDeps) {
    this.#deps = deps;
    void this.#connect();
  }

  /** The text of the client frames that wait for the channel or for its answer, in bytes. */
  get waitingBytes(): number {
    return bytesOf(this.#waiting) + bytesOf(this.#unanswered);
  }

  /** Whether the client has not joined, and no frame waits for an answer: then the link may be closed. */
  get isIdle(): boolean {
    return !this.#hasJoined && this.#waiting.length === 0 && this.#unanswered.length === 0;
  }

  /** Whether the client has sent a `join`, and no `leave` after it. */
  get hasJoined(): boolean {
    return this.#hasJoined;
  }

  /**
   * Forwards frames of the client in one text, or keeps them until the channel can be reached.
   *
   * @param text The text in which the client sent them; undefined if it also had other frames.
   */
  send(requests: readonly ClientRequest[], text?: string): void {
    for (const { frame } of requests) this.#note(frame);
    if (!this.#isRejoining && this.#forward(requests, text)) return;
    if (this.#waiting.push(...requests) > MAX_WAITING_FRAMES && !this.#deps.isServer) this.#lose();
    else this.#leaveUnconnected();
  }

  #note({ action, payload }: ClientFrame): void {
    if (action === "join" || action === "leave") {
      this.#hasJoined = action === "join";
      this.#isLeaving = action === "leave";
    }
    if (action === "leave") this.#state = undefined;
    if (action === "presence") this.#state = JSON.stringify({ action, options: { id: this.#ownId }, payload });
  }

  /** Sends a heartbeat. If the object has been silent since the previous one, the link replaces its socket. */
  beat(): void {
    if (!this.#socket) return;
    if (this.#heartbeat.waiting && !this.#hasReceived) return this.#broken();
    this.#hasReceived = false;
    this.#heartbeat.beat();
  }

  close(): void {
    this.#isClosed = true;
    this.#disconnect();
  }

  async #connect(): Promise<void> {
    let fault: Fault = {
      code: "unavailable",
      detail: "The channel cannot be reached. Try again in 1 s.",
      retryAfter: 1,
    };
    while (this.#attempts < RETRY_DELAYS_MS.length) {
      const delay = RETRY_DELAYS_MS[this.#attempts++];
      await new Promise((resolve) => setTimeout(resolve, delay));
      if (this.#isClosed) return;
      const opened = await this.#open();
      if (opened.ok) return this.#attach(opened.value);
      fault = opened.fault;
      // If the address has used up its requests, do not try again: each attempt would count, too.
      if (!ERRORS[fault.code].retryable || fault.code === "rate-limited") break;
    }
    if (this.#isClosed) return;
    if (this.#position === undefined || !ERRORS[fault.code].retryable) {
      this.#refuse(fault);
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
      return refuse("unavailable", "The channel did not answer in time. Try again in 1 s.", { retryAfter: 1 });
    }
  }

  #attach(socket: WebSocket): void {
    if (this.#isClosed) return discard(socket);
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.#socket) this.#receive(String(data));
    });
    socket.addEventListener("close", ({ code }) => this.#closed(socket, code));
    socket.addEventListener("error", () => this.#closed(socket, 1006));
    socket.accept();
    if (this.#position === undefined) return this.#flush();
    this.#isRejoining = true;
    this.#transmit(rejoinFrame(this.#position, this.#wantsPresence));
    if (this.#state !== undefined) this.#transmit(this.#state);
  }

  /** Refuses the frames that wait: each that has an id, or the channel if none has one. */
  #refuse(fault: Fault): void {
    const ids = [...this.#unanswered, ...this.#waiting].map(({ frame }) => frame.options?.id);
    const known = ids.filter((id) => id !== undefined);
    const errors = (known.length > 0 ? known : [undefined]).map((id) => errorFrame(this.#deps.channel, fault, id));
    this.#deps.deliver(errors);
  }

  #flush(): void {
    while (this.#waiting.length > 0) {
      const next = firstArray(this.#waiting);
      if (!this.#forward(next)) return;
      this.#waiting.splice(0, next.length);
    }
  }

  /** Sends a client's frames to the object in one text. Returns whether the socket was open. */
  #forward(requests: readonly ClientRequest[], text = textOf(requests)): boolean {
    if (!this.#transmit(text)) return false;
    for (const request of requests) if (hasAnswer(request.frame)) this.#unanswered.push(request);
    return true;
  }

  /**
   * Sends a text to the object. Returns whether the socket was open. If it has just closed, its `close` event follows.
   */
  #transmit(text: string): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #receive(text: string): void {
    this.#hasReceived = true;
    if (this.#heartbeat.heard(text)) return;
    const parsed = JSON.parse(text) as ServerFrame | ServerFrame[];
    if (!Array.isArray(parsed)) return this.#receiveOne(parsed, text);
    if (!this.#catchUp && parsed.every(isPassedOn(this.#ownId))) return this.#passOn(parsed, text);
    for (const frame of parsed) this.#receiveOne(frame, JSON.stringify(frame));
  }

  /** Passes on a batch frame as it is, if it has only messages and acks. */
  #passOn(frames: readonly ServerFrame[], text: string): void {
    for (const { action, options } of frames) {
      if (action === "ack") this.#forget(options?.id);
      else this.#advance(options?.seq);
    }
    this.#deps.deliver([text.slice(1, -1)]);
    this.#endIfLeft();
  }

  #receiveOne(frame: ServerFrame, text: string): void {
    const { action, options } = frame;
    if (options?.id === this.#ownId) return;
    if (action === "ack") return this.#acked(options?.id, text);
    if (action === "error") return this.#error(frame, text);
    if (frame.action === "join") this.#catchUp = new CatchUp(frame, text);
    else if (this.#catchUp) this.#catchUp.add(frame, text);
    else return this.#live(frame, text);
    if (this.#isRejoining && frame.action === "join" && frame.options?.resumed !== true) this.#lose();
    else if (this.#catchUp.isComplete) this.#caughtUp(this.#catchUp);
  }

  #live({ action, options }: ServerFrame, text: string): void {
    if (action === "history" || action === "leave") this.#answered(action, options?.id);
    if (action === "leave") this.#position = undefined;
    else this.#advance(options?.seq);
    this.#deps.deliver([text]);
    if (action === "leave") this.#endIfLeft();
  }

  #advance(seq = 0): void {
    if (this.#position !== undefined) this.#position = Math.max(this.#position, seq);
  }

  /** Ends the link after a `leave`, unless other frames of the client wait for their answers. */
  #endIfLeft(): void {
    if (this.#isLeaving && this.isIdle) this.#end();
  }

  #acked(id: string | undefined, text: string): void {
    this.#forget(id);
    this.#deps.deliver([text]);
    this.#endIfLeft();
  }

  /** Removes the unanswered frame with this id. */
  #forget(id: string | undefined): void {
    const index = this.#unanswered.findIndex(({ frame }) => frame.options?.id === id);
    if (index !== -1) this.#unanswered.splice(index, 1);
  }

  /**
   * Passes on the complete answer to a join. The client does not get the `join` frame that answers the link's own join.
   */
  #caughtUp({ texts, seq, id }: CatchUp): void {
    this.#catchUp = undefined;
    this.#attempts = 0;
    this.#position = seq;
    const isOwn = this.#isRejoining;
    this.#isRejoining = false;
    if (!isOwn) {
      const join = this.#answered("join", id);
      this.#wantsPresence = join?.action === "join" && join.payload?.presence === true;
    }
    this.#deps.deliver(isOwn ? texts.slice(1) : texts, true);
    if (isOwn) this.#flush();
  }

  /**
   * Passes on an error. An error without an id does not say which frame it answers, except a refusal by LIM13, which
   * answers the first unanswered frame. Otherwise only a refused `join` or `history` matters here.
   */
  #error({ options, payload }: ServerFrame, text: string): void {
    if (options?.id === undefined) this.#forgetRefused(payload as Partial<Fault>);
    else this.#forget(options.id);
    this.#deps.deliver([text]);
    this.#endIfLeft();
  }

  #forgetRefused({ code, field }: Partial<Fault>): void {
    const isTooOften = code === "rate-limited" && field === "action";
    const index = this.#unanswered.findIndex(({ frame }) => frame.options?.id === undefined);
    const action = this.#unanswered[index]?.frame.action;
    const isJoin = action === "join" && this.#position === undefined;
    if (isTooOften || action === "history" || isJoin) this.#unanswered.splice(index, 1);
  }

  /**
   * Removes and returns the unanswered frame with this action and id. Also removes the frames before it that have no
   * id, because the object answers in order.
   */
  #answered(action: ClientFrame["action"], id: string | undefined): ClientFrame | undefined {
    const index = this.#unanswered.findIndex(({ frame }) => frame.action === action && frame.options?.id === id);
    const found = this.#unanswered[index]?.frame;
    this.#unanswered = this.#unanswered.filter(
      ({ frame }, at) => at > index || (at < index && frame.options?.id !== undefined),
    );
    return found;
  }

  #closed(socket: WebSocket, code: number): void {
    if (socket !== this.#socket) return;
    // The channel has already sent the client an `error`, and admits it no longer.
    if (isFinal(code)) this.#end();
    else this.#broken();
  }

  /** Replaces the socket, and sends the unanswered frames again over the new one. */
  #broken(): void {
    this.#disconnect();
    const [lost, repeatable] = partition(this.#unanswered.splice(0), ({ frame }) => isUnstored(frame));
    this.#deps.deliver(lost.map(({ frame }) => errorFrame(this.#deps.channel, UNCONFIRMED, frame.options?.id)));
    this.#waiting.unshift(...repeatable);
    this.#leaveUnconnected();
    if (!this.#isClosed) void this.#connect();
  }

  /** Answers each `leave` at the front of the queue. No socket is open, so the object need not know. */
  #leaveUnconnected(): void {
    while (this.#waiting[0]?.frame.action === "leave") {
      const id = this.#waiting.shift()?.frame.options?.id;
      this.#position = undefined;
      this.#deps.deliver([leaveFrame(this.#deps.channel, id)]);
      this.#endIfLeft();
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

/** Returns the link's own join. It asks for no history, because the missed messages are replayed instead. */
function rejoinFrame(after: number, presence: boolean): string {
  return JSON.stringify({ action: "join", options: { after }, payload: { history: false, presence } });
}

function bytesOf(requests: readonly ClientRequest[]): number {
  return requests.reduce((sum, { bytes }) => sum + bytes, 0);
}

function textOf(requests: readonly ClientRequest[]): string {
  const [first, ...others] = requests.map(({ frame }) => JSON.stringify(frame));
  return others.length === 0 ? (first ?? "") : asBatch([first ?? "", ...others]);
}

/** Returns as many of the first requests as fit into one array of frames. */
function firstArray(requests: readonly ClientRequest[]): ClientRequest[] {
  let bytes = 0;
  const end = requests.findIndex((request, index) => {
    bytes += request.bytes + 1;
    return index > 0 && (index === MAX_ARRAY_FRAMES || bytes >= MAX_ARRAY_BYTES);
  });
  return end === -1 ? [...requests] : requests.slice(0, end);
}

/** Whether the object answers a frame. It acknowledges messages only if they have an id. */
function hasAnswer({ action, options }: ClientFrame): boolean {
  return action === "join" || action === "leave" || action === "history" || options?.id !== undefined;
}

/** Whether a frame sends a message that is not stored, so that a repeated frame would deliver it twice. */
function isUnstored(frame: ClientFrame): boolean {
  if (frame.action !== "message" && frame.action !== "event") return false;
  const { ephemeral, socketId, user } = frame.options ?? {};
  return ephemeral === true || socketId !== undefined || user !== undefined;
}

const UNCONFIRMED: Fault = {
  code: "unavailable",
  detail:
    "The channel was reset before it confirmed this message, which may or may not have been delivered. Send it again if it may arrive twice.",
  retryAfter: 1,
};

/** Whether a link passes on a frame without looking at what it says. The acks of its own frames are not passed on. */
const isPassedOn =
  (ownId: string) =>
  ({ action, options }: ServerFrame): boolean =>
    action === "event" || action === "message" || (action === "ack" && options?.id !== ownId);

function partition<T>(items: readonly T[], isFirst: (item: T) => boolean): [T[], T[]] {
  return [items.filter(isFirst), items.filter((item) => !isFirst(item))];
}

function discard(socket: WebSocket): void {
  socket.accept();
  socket.close(1000);
}
