import { FrameRate } from "../../shared/rate.ts";
import { CLOSE, FLOOD_REASON } from "../../protocol/close.ts";
import { type Fault, refuse } from "../../protocol/errors.ts";
import { connectedFrame, errorFrame } from "../../protocol/frames.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../../protocol/heartbeat.ts";
import { MAX_CHANNELS_PER_SOCKET, MAX_OPENS_PER_SOCKET } from "../../protocol/limits.ts";
import { batchesOf } from "../../channel/fanout.ts";
import {
  type ClientFrame,
  idOf,
  idsIn,
  arrayLength,
  type ParsedFrame,
  parseFrames,
} from "../../protocol/client-frame.ts";
import { utf8Length } from "../../protocol/utf8.ts";
import { ClientMonitor } from "./client-monitor.ts";
import { ChannelLink, type OpenChannel, type ClientRequest } from "./link.ts";

/**
 * The interval at which the client is checked, and the channel objects get a heartbeat. So a client that is gone is
 * found within 120 s.
 */
export const CHECK_INTERVAL_MS = 25_000;

/** The text of client frames that may wait for channels that cannot be reached, per connection. */
export const MAX_WAITING_BYTES = 4 * 1024 * 1024;

interface MultiplexerOptions {
  /** Whether the client gets batch frames. */
  isBatch: boolean;
  /** Whether the client has an API key. */
  isServer: boolean;
}

/**
 * Serves many channels over one socket. The client's socket ends here, in the Worker. Each channel that the client
 * joins gets a socket from here to its object, where that socket hibernates.
 */
export class Multiplexer {
  readonly #client: WebSocket;
  readonly #open: OpenChannel;
  readonly #isBatch: boolean;
  readonly #isServer: boolean;
  readonly #links = new Map<string, ChannelLink>();
  readonly #frames = new FrameRate();
  /** Heartbeats have their own limit, so that the heartbeats of a client that sends too fast still count. */
  readonly #heartbeats = new FrameRate();
  readonly #monitor = new ClientMonitor(Date.now());
  #timer: ReturnType<typeof setInterval> | null = null;
  #isClosed = false;
  /** The number of sockets to channel objects that were opened, including failed attempts. */
  #opens = 0;

  constructor(client: WebSocket, open: OpenChannel, { isBatch, isServer }: MultiplexerOptions) {
    this.#client = client;
    this.#open = open;
    this.#isBatch = isBatch;
    this.#isServer = isServer;
  }

  /** Accepts the client's socket, and handles its events until it closes. */
  serve(): void {
    this.#client.addEventListener("message", ({ data }) => this.#receive(data));
    this.#client.addEventListener("close", () => this.#closeAll());
    this.#client.addEventListener("error", () => this.#closeAll());
    this.#client.accept();
    this.#timer = setInterval(() => this.#tick(), CHECK_INTERVAL_MS);
  }

  #receive(data: string | ArrayBuffer): void {
    if (this.#isClosed) return;
    this.#monitor.received(Date.now());
    const isHeartbeat = data === HEARTBEAT_REQUEST;
    if (!this.#admits(isHeartbeat ? this.#heartbeats : this.#frames, () => idsIn(data), arrayLength(data))) return;
    if (isHeartbeat) return this.#heartbeat();
    const frames = parseFrames(data);
    const admitted = frames.filter(
      (frame, index) => index === 0 || this.#admits(this.#frames, () => asList(idOf(frame))),
    );
    const isWhole = admitted.length === frames.length && typeof data === "string";
    this.#handle(admitted, isWhole ? data : JSON.stringify(admitted.map((frame) => frame.ok && frame.value)));
  }

  /**
   * Returns whether to handle a frame, by the number of frames alone. Closes a client that floods. API-key clients have
   * no limit.
   *
   * @param ids Returns the ids that the refused frames have. Each gets an answer.
   * @param length The length of an array in UTF-16 units, 0 for a single frame.
   */
  #admits(rate: FrameRate, ids: () => readonly string[], length = 0): boolean {
    if (this.#isClosed) return false;
    if (this.#isServer) return true;
    const verdict = rate.take(length);
    if (verdict === "flood") this.#close(CLOSE.flood, FLOOD_REASON);
    else if (verdict !== "admitted")
      for (const { fault, id } of rate.refusals(verdict, ids())) this.#sendFrames([errorFrame(undefined, fault, id)]);
    return verdict === "admitted";
  }

  #heartbeat(): void {
    this.#monitor.heartbeat();
    this.#send(HEARTBEAT_RESPONSE);
  }

  /**
   * Handles frames in order. Consecutive frames for one channel are forwarded in one text: the client's own, if it has
   * no other frames.
   */
  #handle(frames: readonly ParsedFrame[], text: string): void {
    const bytes = Math.ceil(utf8Length(text) / frames.length);
    let group: { link: ChannelLink; requests: ClientRequest[] } | undefined;
    const flush = () => {
      group?.link.send(group.requests, group.requests.length === frames.length ? text : undefined);
      group = undefined;
    };
    for (const frame of frames) {
      const target = frame.ok ? this.#target(frame.value) : { ...frame, ...frame.origin };
      if (!target.ok) this.#sendFrames([errorFrame(target.channel, target.fault, idOf(frame))]);
      if (!target.ok || !frame.ok || this.#isProbeAnswer(target.channel, frame.value)) continue;
      if (group?.link !== target.link) flush();
      group ??= { link: target.link, requests: [] };
      group.requests.push({ frame: frame.value, bytes });
      // The link must know of a `join` or `leave` before the next frame is looked at.
      if (frame.value.action === "join" || frame.value.action === "leave") flush();
    }
    flush();
    if (this.#waitingBytes() > MAX_WAITING_BYTES) this.#restart();
  }

  /**
   * Returns the link to a frame's channel. Connects a channel for its `join`, and for events of an API-key client.
   */
  #target({ action, options }: ClientFrame): Target {
    const channel = options?.channel;
    if (channel === undefined) {
      return refuse("invalid-field", "options.channel is required on this socket: name the channel of the frame.", {
        field: "options.channel",
      });
    }
    const isEvent = action === "event" && this.#isServer;
    const existing = this.#links.get(channel);
    const isAllowed = action === "join" || isEvent || existing?.hasJoined === true || (existing && action === "leave");
    if (!isAllowed) {
      const detail = `This connection has not joined ${channel}. Send a join first.`;
      return { ...refuse("not-joined", detail, { field: "options.channel" }), channel };
    }
    const link = existing ?? this.#connect(channel);
    if (link === "full") {
      const detail = `A connection may join at most ${MAX_CHANNELS_PER_SOCKET} channels. Leave one, or open another connection.`;
      return { ...refuse("too-many-channels", detail, { limit: MAX_CHANNELS_PER_SOCKET }), channel };
    }
    if (action === "leave") this.#monitor.dropProbe(channel);
    return { ok: true, link, channel };
  }

  #isProbeAnswer(channel: string, frame: ClientFrame): boolean {
    if (frame.action !== "join" || frame.options?.id !== undefined || frame.options?.after !== undefined) return false;
    return this.#monitor.endProbe(channel);
  }

  #waitingBytes(): number {
    return this.#links.values().reduce((sum, link) => sum + link.waitingBytes, 0);
  }

  #connect(channel: string): ChannelLink | "full" {
    if (this.#links.size >= MAX_CHANNELS_PER_SOCKET && !this.#closeIdle()) return "full";
    const link: ChannelLink = new ChannelLink({
      channel,
      isServer: this.#isServer,
      open: () => this.#openChannel(channel),
      deliver: (frames, isCatchUp) => this.#deliver(channel, frames, isCatchUp),
      ended: () => {
        this.#monitor.dropProbe(channel);
        if (this.#links.get(channel) === link) this.#links.delete(channel);
      },
      lost: () => this.#restart(),
    });
    this.#links.set(channel, link);
    return link;
  }

  /** Closes the oldest link that only served events. Returns whether there was one. */
  #closeIdle(): boolean {
    const [channel, link] = this.#links.entries().find(([, { isIdle }]) => isIdle) ?? [];
    if (channel === undefined) return false;
    link?.close();
    return this.#links.delete(channel);
  }

  /**
   * Opens a socket to a channel object. Closes a connection that has used up its opens, so that the client reconnects.
   */
  async #openChannel(channel: string): ReturnType<OpenChannel> {
    if (this.#opens >= MAX_OPENS_PER_SOCKET) {
      this.#restart();
      return refuse("unavailable", "The server is closing the connection. Connect again.");
    }
    this.#opens += 1;
    return this.#open(channel);
  }

  #tick(): void {
    this.#check();
    for (const link of this.#links.values()) link.beat();
  }

  #deliver(channel: string, frames: readonly string[], isCatchUp = false): void {
    this.#sendFrames(frames, isCatchUp);
    if (!isCatchUp && this.#monitor.startProbe(channel)) this.#sendFrames([connectedFrame(channel)]);
  }

  #sendFrames(frames: readonly string[], isCatchUp = false): void {
    for (const text of this.#isBatch ? batchesOf(frames) : frames) this.#send(text, isCatchUp);
  }

  #send(text: string, isCatchUp = false): void {
    if (this.#isClosed) return;
    try {
      this.#client.send(text);
    } catch {
      return this.#closeAll();
    }
    this.#monitor.sent(text, isCatchUp);
    this.#check();
  }

  /** Closes the connection if its client is slow or gone. */
  #check(): void {
    const verdict = this.#monitor.verdict(Date.now());
    if (verdict) this.#close(CLOSE.tryAgain, verdict);
  }

  /** Closes the connection, so that the client reconnects and joins again. */
  #restart(): void {
    this.#close(CLOSE.restart, "a channel was lost");
  }

  #close(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#closeAll();
    try {
      this.#client.close(code, reason);
    } catch {
      // The runtime has closed it already.
    }
  }

  #closeAll(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }
}

type Target =
  | { ok: true; link: ChannelLink; channel: string }
  | { ok: false; fault: Fault; channel?: string | undefined };

const asList = <T>(item: T | undefined) => (item === undefined ? [] : [item]);
