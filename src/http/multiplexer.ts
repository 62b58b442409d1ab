import { FrameRate } from "../channel/rate.ts";
import { CLOSE, FLOOD_REASON } from "../protocol/close.ts";
import { type Fault, refuse, type Result } from "../protocol/errors.ts";
import { connectedFrame, errorFrame } from "../protocol/frames.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../protocol/heartbeat.ts";
import { MAX_CHANNELS_PER_SOCKET, MAX_OPENS_PER_SOCKET } from "../protocol/limits.ts";
import { type ClientFrame, parseFrame } from "../protocol/schemas.ts";
import { ClientMonitor } from "./client-monitor.ts";
import { ChannelLink } from "./link.ts";

/** How often the client is checked and the channel objects get a heartbeat: a client that is gone is found within 120 s. */
export const CHECK_INTERVAL_MS = 25_000;

/** Text of client frames that may wait for channels which cannot be reached, per connection. */
export const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Opens a socket to a channel's object, as the client that this connection is of. */
export type OpenChannel = (channel: string) => Promise<Result<WebSocket>>;

/**
 * Many channels over one socket. The client's socket ends here, in the Worker; each channel that it joins has a socket
 * of its own to that channel's object, where it hibernates.
 */
export class Multiplexer {
  readonly #client: WebSocket;
  readonly #open: OpenChannel;
  readonly #links = new Map<string, ChannelLink>();
  readonly #frames = new FrameRate();
  /** Heartbeats have a rate of their own: a client that is too fast must not be taken for one that is gone. */
  readonly #heartbeats = new FrameRate();
  readonly #monitor = new ClientMonitor(Date.now());
  #timer: ReturnType<typeof setInterval> | null = null;
  #isClosed = false;
  /** How many sockets to channel objects were opened, or tried. */
  #opens = 0;

  constructor(client: WebSocket, open: OpenChannel) {
    this.#client = client;
    this.#open = open;
  }

  /** Takes over the client's socket, for as long as it lives. */
  serve(): void {
    this.#client.addEventListener("message", ({ data }) => this.#hear(data));
    this.#client.addEventListener("close", () => this.#closeAll());
    this.#client.addEventListener("error", () => this.#closeAll());
    this.#client.accept();
    this.#timer = setInterval(() => this.#tick(), CHECK_INTERVAL_MS);
  }

  #hear(data: string | ArrayBuffer): void {
    if (this.#isClosed) return;
    this.#monitor.heard(Date.now());
    const isHeartbeat = data === HEARTBEAT_REQUEST;
    if (!this.#admits(isHeartbeat ? this.#heartbeats : this.#frames)) return;
    if (isHeartbeat) return this.#heartbeat();
    const taken = this.#take(data);
    if (!taken.ok) this.#send(errorFrame(taken.channel, taken.fault));
  }

  /** Returns whether a frame is taken, by its number alone. A client that floods is closed. */
  #admits(rate: FrameRate): boolean {
    const verdict = rate.take();
    if (verdict === "taken") return true;
    if (verdict === "flood") this.#close(CLOSE.flood, FLOOD_REASON);
    else if (verdict !== "silent") this.#send(errorFrame(undefined, verdict));
    return false;
  }

  #heartbeat(): void {
    this.#monitor.heartbeat();
    this.#send(HEARTBEAT_RESPONSE);
  }

  #take(data: string | ArrayBuffer): Outcome {
    const frame = parseFrame(data);
    if (!frame.ok) return frame;
    const channel = frame.value.options?.channel;
    if (channel === undefined) {
      return refuse("invalid-field", "options.channel is required.", { field: "options.channel" });
    }
    // What has been parsed was text.
    const result = this.#pass(channel, frame.value, data as string);
    return result.ok ? result : { ...result, channel };
  }

  /** Hands a frame to its channel; the first must be a `join`. */
  #pass(channel: string, frame: ClientFrame, text: string): Outcome {
    const link = this.#links.get(channel) ?? (frame.action === "join" ? this.#connect(channel) : undefined);
    if (link === "full") {
      const detail = `A connection joins at most ${MAX_CHANNELS_PER_SOCKET} channels.`;
      return refuse("too-many-channels", detail, { limit: MAX_CHANNELS_PER_SOCKET });
    }
    if (!link) return refuse("not-joined", "Join the channel first.", { field: "options.channel" });
    if (frame.action === "leave") this.#monitor.dropProbe(channel);
    if (this.#isProbeAnswer(channel, frame)) return DONE;
    link.send(frame, text);
    if (this.#waitingBytes() > MAX_WAITING_BYTES) this.#restart();
    return DONE;
  }

  #isProbeAnswer(channel: string, frame: ClientFrame): boolean {
    return frame.action === "join" && frame.options?.after === undefined && this.#monitor.endProbe(channel);
  }

  #waitingBytes(): number {
    return this.#links.values().reduce((sum, link) => sum + link.waitingBytes, 0);
  }

  #connect(channel: string): ChannelLink | "full" {
    if (this.#links.size >= MAX_CHANNELS_PER_SOCKET) return "full";
    const link: ChannelLink = new ChannelLink({
      channel,
      open: () => this.#openChannel(channel),
      deliver: (text, isCatchUp) => this.#deliver(channel, text, isCatchUp),
      refused: (fault) => this.#send(errorFrame(channel, fault)),
      ended: () => {
        this.#monitor.dropProbe(channel);
        if (this.#links.get(channel) === link) this.#links.delete(channel);
      },
      lost: () => this.#restart(),
    });
    this.#links.set(channel, link);
    return link;
  }

  /** Opens a socket to a channel object. A connection that has used up its opens is closed; the next one starts again. */
  async #openChannel(channel: string): ReturnType<OpenChannel> {
    if (this.#opens >= MAX_OPENS_PER_SOCKET) {
      this.#restart();
      return refuse("unavailable", "The connection is being closed.");
    }
    this.#opens += 1;
    return this.#open(channel);
  }

  #tick(): void {
    this.#check();
    for (const link of this.#links.values()) link.beat();
  }

  #deliver(channel: string, text: string, isCatchUp = false): void {
    this.#send(text, isCatchUp);
    if (!isCatchUp && this.#monitor.startProbe(channel)) this.#send(connectedFrame(channel));
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

  /** Closes the connection of a client that reads too slowly or is gone. */
  #check(): void {
    const verdict = this.#monitor.verdict(Date.now());
    if (verdict) this.#close(CLOSE.tryAgain, verdict);
  }

  /** Makes the client reconnect and join again. */
  #restart(): void {
    this.#close(CLOSE.restart, "a channel was lost");
  }

  #close(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#closeAll();
    try {
      this.#client.close(code, reason);
    } catch {
      // It is closed already.
    }
  }

  #closeAll(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }
}

type Outcome = { ok: true } | { ok: false; fault: Fault; channel?: string | undefined };

const DONE = { ok: true } as const;
