import { FrameRate } from "../../shared/rate.ts";
import { CLOSE, FLOOD_REASON } from "../../protocol/close.ts";
import { type Fault, refuse } from "../../protocol/errors.ts";
import { connectedFrame, errorFrame } from "../../protocol/frames.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../../protocol/heartbeat.ts";
import { MAX_CHANNELS_PER_SOCKET, MAX_OPENS_PER_SOCKET } from "../../protocol/limits.ts";
import { type ClientFrame, parseFrame } from "../../protocol/client-frame.ts";
import { ClientMonitor } from "./client-monitor.ts";
import { ChannelLink, type OpenChannel } from "./link.ts";

/**
 * The interval at which the client is checked, and the channel objects get a heartbeat. So a client that is gone is
 * found within 120 s.
 */
export const CHECK_INTERVAL_MS = 25_000;

/** The text of client frames that may wait for channels that cannot be reached, per connection. */
export const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/**
 * Serves many channels over one socket. The client's socket ends here, in the Worker. Each channel that the client
 * joins gets a socket from here to its object, where that socket hibernates.
 */
export class Multiplexer {
  readonly #client: WebSocket;
  readonly #open: OpenChannel;
  readonly #links = new Map<string, ChannelLink>();
  readonly #frames = new FrameRate();
  /** Heartbeats have their own limit, so that the heartbeats of a client that sends too fast still count. */
  readonly #heartbeats = new FrameRate();
  readonly #monitor = new ClientMonitor(Date.now());
  #timer: ReturnType<typeof setInterval> | null = null;
  #isClosed = false;
  /** The number of sockets to channel objects that were opened, including failed attempts. */
  #opens = 0;

  constructor(client: WebSocket, open: OpenChannel) {
    this.#client = client;
    this.#open = open;
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
    if (!this.#admits(isHeartbeat ? this.#heartbeats : this.#frames)) return;
    if (isHeartbeat) return this.#heartbeat();
    const handled = this.#handle(data);
    if (!handled.ok) this.#send(errorFrame(handled.channel, handled.fault));
  }

  /** Returns whether to handle a frame, by the number of frames alone. Closes a client that floods. */
  #admits(rate: FrameRate): boolean {
    const verdict = rate.take();
    if (verdict === "admitted") return true;
    if (verdict === "flood") this.#close(CLOSE.flood, FLOOD_REASON);
    else if (verdict !== "silent") this.#send(errorFrame(undefined, verdict));
    return false;
  }

  #heartbeat(): void {
    this.#monitor.heartbeat();
    this.#send(HEARTBEAT_RESPONSE);
  }

  #handle(data: string | ArrayBuffer): Outcome {
    const frame = parseFrame(data);
    if (!frame.ok) return frame;
    const channel = frame.value.options?.channel;
    if (channel === undefined) {
      return refuse("invalid-field", "options.channel is required on this socket: name the channel of the frame.", {
        field: "options.channel",
      });
    }
    // parseFrame accepts only text.
    const result = this.#forward(channel, frame.value, data as string);
    return result.ok ? result : { ...result, channel };
  }

  /** Forwards a frame to its channel. The first frame must be a `join`. */
  #forward(channel: string, frame: ClientFrame, text: string): Outcome {
    const link = this.#links.get(channel) ?? (frame.action === "join" ? this.#connect(channel) : undefined);
    if (link === "full") {
      const detail = `A connection may join at most ${MAX_CHANNELS_PER_SOCKET} channels. Leave one, or open another connection.`;
      return refuse("too-many-channels", detail, { limit: MAX_CHANNELS_PER_SOCKET });
    }
    if (!link)
      return refuse("not-joined", `This connection has not joined ${channel}. Send a join first.`, {
        field: "options.channel",
      });
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

type Outcome = { ok: true } | { ok: false; fault: Fault; channel?: string | undefined };

const DONE = { ok: true } as const;
