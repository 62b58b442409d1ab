import ReconnectingWebSocket from "partysocket/ws";
import type { Client } from "../protocol/frames.ts";
import { isFinal } from "../protocol/close.ts";
import { Heartbeat, HEARTBEAT_REQUEST } from "../protocol/heartbeat.ts";
import { historyPath } from "../protocol/paths.ts";

/** A stored message as the wire carries it (PROTOCOL.md, FRA1). */
export interface Message {
  action: "event" | "message";
  client?: Client;
  options: { channel: string; seq: number; time: string };
  payload: unknown;
}

export type Status = "connecting" | "online" | "offline" | "closed";

/** What a reconnected subscription tells about the time in between. */
export interface Resumed {
  /** How many messages were missed and have been delivered now. */
  missed: number;
  /** Whether that is all; false where the server can no longer give, or does not show, what was missed. */
  complete: boolean;
}

export interface SubscribeOptions {
  channel: string;
  /** The server's origin; a page's own by default. */
  server?: string;
  /** Ask for the latest messages on the first join. */
  history?: boolean;
  /** Each message once, in the channel's order: history, what was missed, and live ones alike. */
  onMessage: (message: Message) => void;
  onStatus?: (status: Status) => void;
  onResumed?: (resumed: Resumed) => void;
  /** What the server refused; the connection stays. */
  onError?: (error: { code: string; message: string; field?: string }) => void;
}

export interface Subscription {
  /** Stores and delivers a message; resolves to its place in the order once it is stored, throws a PublishError. */
  publish: (message: unknown) => Promise<{ seq: number; time: string }>;
  close: () => void;
}

/** A refused publish, with the server's problem (RFC 9457). */
export class PublishError extends Error {
  override name = "PublishError";
  constructor(
    readonly status: number,
    readonly problem: { type: string; title: string; detail: string; field?: string },
  ) {
    super(problem.detail);
  }
}

/** In milliseconds (CON7). */
const HEARTBEAT_EVERY = 20_000;

/** Where a join finds the channel, and how resuming went (PROTOCOL.md, RES). */
interface Position {
  seq: number;
  resumed?: boolean;
  replayed?: number;
}

type ServerFrame =
  | Message
  | { action: "join"; options: Position; payload: { history: boolean } }
  | { action: "history"; options: { seq: number }; payload: Message[] }
  | { action: "error"; payload: { code: string; message: string; field?: string } }
  | { action: "leave" };

/** Subscribes to a channel, and stays subscribed: over lost connections it resumes from the last message it saw. */
export function subscribe(options: SubscribeOptions): Subscription {
  const server = options.server ?? location.origin;
  const path = `${server}/channels/${encodeURIComponent(options.channel)}`;
  const socket = new ReconnectingWebSocket(`${path.replace(/^http/, "ws")}/socket`, null, {
    minReconnectionDelay: 250 + Math.random() * 500,
    maxReconnectionDelay: 20_000,
    reconnectionDelayGrowFactor: 1.6,
    maxEnqueuedMessages: 0,
    shouldReconnectOnClose: ({ code }) => !isFinal(code),
  });
  const order = new Order({ ...options, server, reconnect: () => socket.reconnect() });
  const watch = new Watch(socket);
  options.onStatus?.("connecting");
  socket.addEventListener("open", () => socket.send(order.join()));
  socket.addEventListener("message", ({ data }: { data: unknown }) => {
    const text = String(data);
    if (watch.heard(text)) return;
    const frame = JSON.parse(text) as ServerFrame;
    if (frame.action === "join") options.onStatus?.("online");
    if (frame.action === "error") options.onError?.(frame.payload);
    else order.take(frame);
  });
  socket.addEventListener("close", ({ code }) => options.onStatus?.(isFinal(code) ? "closed" : "offline"));

  return {
    publish: (message) => publish(server, options.channel, message),
    close: () => {
      watch.stop();
      socket.close();
      options.onStatus?.("closed");
    },
  };
}

type OrderOptions = SubscribeOptions & { server: string; reconnect: () => void };

/** Makes each message come once and in order, whatever happens to connections in between. */
class Order {
  readonly #options: OrderOptions;
  /** The last `seq` seen; undefined before the first join. */
  #last: number | undefined;
  /** Set while missed messages arrive: where they end, how many there are, and how many are still to come. */
  #resuming: { until: number; missed: number; left: number } | undefined;
  /** Live messages that wait until those before them were fetched. */
  #waiting: Message[] | undefined;

  constructor(options: OrderOptions) {
    this.#options = options;
  }

  /** The frame that joins, or joins again where this left off. */
  join(): string {
    this.#waiting = undefined;
    // Coming back, what was missed takes the history's place.
    const history = this.#last === undefined && this.#options.history === true;
    const options = { channel: this.#options.channel, after: this.#last };
    return JSON.stringify({ action: "join", options, payload: { history } });
  }

  take(frame: ServerFrame): void {
    if (frame.action === "join") this.#joined(frame.options, frame.payload.history);
    else if (frame.action === "history") this.#begin(frame.payload, frame.options.seq);
    else if (frame.action === "event" || frame.action === "message") this.#live(frame);
  }

  #joined({ seq, resumed, replayed = 0 }: Position, history: boolean): void {
    if (this.#last === undefined) {
      if (!history) this.#begin([], seq);
    } else if (resumed) {
      this.#resuming = { until: seq, missed: replayed, left: replayed };
      this.#finishResuming();
    } else {
      void this.#fetchMissed(this.#last, seq);
    }
  }

  /** Starts at `seq`, the channel's last one, behind the history that was asked for. */
  #begin(history: readonly Message[], seq: number): void {
    for (const message of history) this.#deliver(message);
    this.#last = seq;
  }

  #live(message: Message): void {
    if (this.#waiting) this.#waiting.push(message);
    else this.#deliver(message);
  }

  #deliver(message: Message): void {
    const { seq } = message.options;
    if (seq <= (this.#last ?? 0)) return;
    this.#last = seq;
    this.#options.onMessage(message);
    if (this.#resuming) this.#resuming.left -= 1;
    this.#finishResuming();
  }

  #finishResuming(): void {
    if (!this.#resuming || this.#resuming.left > 0) return;
    const { missed, until } = this.#resuming;
    this.#resuming = undefined;
    // The last of what was missed may have been for others only.
    this.#last = Math.max(this.#last ?? 0, until);
    this.#options.onResumed?.({ missed, complete: true });
  }

  /** Pages through what cannot be replayed, while live messages wait for their turn (RES2). */
  async #fetchMissed(after: number, until: number): Promise<void> {
    const waiting: Message[] = [];
    this.#waiting = waiting;
    const missed: Message[] = [];
    let next: string | null = historyPath(this.#options.channel, `limit=1000&after=${after}&before=${until + 1}`);
    let readable = after <= until;
    try {
      while (next !== null && readable) {
        const answer: Response = await fetch(`${this.#options.server}${next}`);
        if (answer.status >= 500) throw new Error(`history answered ${answer.status}`);
        readable = answer.ok;
        const page = (await answer.json()) as { messages?: Message[]; next?: string | null };
        missed.push(...(page.messages ?? []));
        next = page.next ?? null;
      }
    } catch {
      if (this.#waiting === waiting) this.#options.reconnect();
      return;
    }
    if (this.#waiting !== waiting) return; // Joined anew meanwhile; that join sees to it.
    this.#waiting = undefined;
    // A position from the future: the channel is not the one that it was, so its numbering is taken as it is now.
    if (after > until) this.#last = until;
    for (const message of [...missed, ...waiting]) this.#deliver(message);
    this.#last = Math.max(this.#last ?? 0, until);
    this.#options.onResumed?.({ missed: missed.length, complete: readable });
  }
}

/** Notices a connection that is dead though nobody closed it, and tells the server how far this client has read. */
class Watch {
  readonly #socket: ReconnectingWebSocket;
  readonly #heartbeat: Heartbeat;
  readonly #timer: ReturnType<typeof setInterval>;
  /** Whether anything was heard since the timer last went off. */
  #heard = false;

  constructor(socket: ReconnectingWebSocket) {
    this.#socket = socket;
    this.#heartbeat = new Heartbeat(() => {
      socket.send(HEARTBEAT_REQUEST);
      return true;
    });
    this.#timer = setInterval(() => this.#tick(), HEARTBEAT_EVERY);
    socket.addEventListener("open", () => this.#heartbeat.reset());
  }

  /** Notes what was received; answers whether it was a heartbeat's answer. */
  heard(text: string): boolean {
    this.#heard = true;
    return this.#heartbeat.heard(text);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    if (this.#socket.readyState !== ReconnectingWebSocket.OPEN) return;
    if (!this.#heartbeat.waiting) this.#heartbeat.beat();
    else if (!this.#heard) this.#socket.reconnect();
    this.#heard = false;
  }
}

async function publish(server: string, channel: string, message: unknown): Promise<{ seq: number; time: string }> {
  const answer = await fetch(`${server}/message`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ channel, message }),
  });
  if (!answer.ok) throw new PublishError(answer.status, (await answer.json()) as PublishError["problem"]);
  return (await answer.json()) as { seq: number; time: string };
}
