import { isFinal } from "../protocol/close.ts";
import { ERRORS, type Fault } from "../protocol/errors.ts";
import { Heartbeat, HEARTBEAT_REQUEST } from "../protocol/heartbeat.ts";
import type { ClientFrame } from "../protocol/schemas.ts";
import type { OpenChannel } from "./multiplexer.ts";

/** How long to wait before each attempt to come back to a channel, in milliseconds; then the way is lost. */
const ATTEMPTS = [0, 100, 500, 1_500, 4_000];

/** Frames that are kept for a channel to which there is no way just now. */
const MAX_WAITING = 100;

/** How often a heartbeat goes to the channel's object, in milliseconds (PROTOCOL.md, CON7). */
const HEARTBEAT_EVERY = 30_000;

interface Needs {
  open: () => ReturnType<OpenChannel>;
  /** Passes on what the channel says. */
  deliver: (text: string) => void;
  /** The channel does not admit the client. */
  refused: (fault: Fault) => void;
  /** This link is of no more use: refused, left, or closed for good by the channel. */
  ended: () => void;
  /** The channel cannot be reached any more, or not without a gap. */
  lost: () => void;
}

type ServerFrame = { action: string; options?: { seq?: number; resumed?: boolean } };

/**
 * The way from a client's connection to one of its channels. Where the channel's object is reset, it joins again behind
 * the last `seq` that it passed on, so that the client misses nothing and sees nothing twice, without knowing.
 */
export class Link {
  readonly #needs: Needs;
  /** What the client sent while there was no way. */
  readonly #waiting: string[] = [];
  readonly #heartbeat = new Heartbeat(() => this.#transmit(HEARTBEAT_REQUEST));
  readonly #timer: ReturnType<typeof setInterval>;
  #socket: WebSocket | undefined;
  #state: "joining" | "joined" | "returning" | "closed" = "joining";
  /** What the client's last join asked for. */
  #wishes: object = {};
  /** Whether the client left and did not join again since: then the answer to its leave is the end. */
  #leaving = false;
  /** The last `seq` that was passed on. */
  #last = 0;

  constructor(needs: Needs) {
    this.#needs = needs;
    this.#timer = setInterval(() => this.#heartbeat.beat(), HEARTBEAT_EVERY);
    void this.#connect();
  }

  /** Sends a client's frame on, or keeps it until there is a way. */
  send(frame: ClientFrame, text: string): void {
    if (frame.action === "join") this.#wishes = frame.payload ?? {};
    if (frame.action === "join" || frame.action === "leave") this.#leaving = frame.action === "leave";
    if (this.#state !== "returning" && this.#transmit(text)) return;
    if (this.#waiting.push(text) > MAX_WAITING) this.#lose();
  }

  close(): void {
    this.#state = "closed";
    clearInterval(this.#timer);
    this.#socket?.close(1000);
    this.#socket = undefined;
  }

  async #connect(): Promise<void> {
    let fault: Fault | undefined;
    for (const delay of ATTEMPTS) {
      await new Promise((resolve) => setTimeout(resolve, delay));
      if (this.#state === "closed") return;
      const opened = await this.#needs.open();
      if (opened.ok) return this.#attach(opened.value);
      fault = opened.fault;
      if (!ERRORS[fault.code].retryable) break;
    }
    if (fault && (this.#state === "joining" || !ERRORS[fault.code].retryable)) {
      this.#needs.refused(fault);
      this.#end();
    } else {
      this.#lose();
    }
  }

  #attach(socket: WebSocket): void {
    this.#socket = socket;
    this.#heartbeat.reset();
    socket.addEventListener("message", ({ data }) => this.#hear(String(data)));
    socket.addEventListener("close", ({ code }) => this.#closed(socket, code));
    socket.addEventListener("error", () => this.#closed(socket, 1006));
    socket.accept();
    if (this.#isClosed()) return this.close();
    if (this.#state === "returning") this.#transmit(rejoin(this.#last, this.#wishes));
    else this.#flush();
  }

  #flush(): void {
    while (this.#waiting[0] !== undefined && this.#transmit(this.#waiting[0])) this.#waiting.shift();
  }

  /** Answers whether there is a way just now; where it has just ended, its closing is told in its turn. */
  #transmit(text: string): boolean {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  #hear(text: string): void {
    if (this.#heartbeat.heard(text)) return;
    const { action, options } = JSON.parse(text) as ServerFrame;
    if (action === "join" && this.#state === "returning") return this.#returned(options?.resumed === true);
    if (action === "join") this.#state = "joined";
    this.#last = Math.max(this.#last, options?.seq ?? 0);
    this.#needs.deliver(text);
    if (action === "leave" && this.#leaving) this.#end();
  }

  /** The answer to a join of our own is not the client's affair; all that it missed follows, or cannot. */
  #returned(resumed: boolean): void {
    if (!resumed) return this.#lose();
    this.#state = "joined";
    this.#flush();
  }

  #closed(socket: WebSocket, code: number): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    socket.close(1000);
    // The channel has said why: the client is not admitted any longer.
    if (isFinal(code)) return this.#end();
    // A join that was not answered is the client's own, and is sent again; one that was is resumed.
    if (this.#state === "joining") this.#waiting.unshift(JSON.stringify({ action: "join", payload: this.#wishes }));
    else this.#state = "returning";
    void this.#connect();
  }

  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #end(): void {
    this.close();
    this.#needs.ended();
  }

  #lose(): void {
    this.close();
    this.#needs.lost();
  }
}

/** What was missed takes the history's place. */
function rejoin(after: number, wishes: object): string {
  return JSON.stringify({ action: "join", options: { after }, payload: { ...wishes, history: false } });
}
