import { Rate } from "../channel/rate.ts";
import { type Fault, refuse, type Result } from "../protocol/errors.ts";
import { errorFrame } from "../protocol/frames.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../protocol/heartbeat.ts";
import { parseJson } from "../protocol/json.ts";
import { FRAMES_AT_ONCE, FRAMES_PER_SECOND, MAX_CHANNELS_PER_SOCKET } from "../protocol/limits.ts";
import { ClientFrame, validate } from "../protocol/schemas.ts";
import { Link } from "./link.ts";

/** Opens a socket to a channel's object, as the client that this connection is of. */
export type OpenChannel = (channel: string) => Promise<Result<WebSocket>>;

/** The close code on which clients come back by themselves: "service restart". */
const CLOSE_RESTART = 1012;

/**
 * Many channels over one socket. The client's socket ends here, in the Worker; each channel that it joins has a socket
 * of its own to that channel's object, where it hibernates.
 */
export class Multiplexer {
  readonly #client: WebSocket;
  readonly #open: OpenChannel;
  readonly #links = new Map<string, Link>();
  readonly #rate = new Rate(FRAMES_PER_SECOND, FRAMES_AT_ONCE, Date.now());

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
  }

  #hear(data: string | ArrayBuffer): void {
    if (data === HEARTBEAT_REQUEST) return this.#send(HEARTBEAT_RESPONSE);
    const wait = this.#rate.take(Date.now());
    const taken = wait > 0 ? tooManyFrames(wait) : this.#take(data);
    if (!taken.ok) this.#send(errorFrame(taken.channel, taken.fault));
  }

  #take(data: string | ArrayBuffer): Outcome {
    if (typeof data !== "string") return refuse("not-text", "Send JSON in a text frame.");
    const json = parseJson(data);
    if (!json.ok) return json;
    const frame = validate(ClientFrame, json.value, "frame");
    if (!frame.ok) return { ...frame, channel: channelIn(json.value) };
    const channel = frame.value.options?.channel;
    if (channel === undefined) {
      return refuse("invalid-field", "options.channel is required.", { field: "options.channel" });
    }
    const result = this.#pass(channel, frame.value, data);
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
    link.send(frame, text);
    return DONE;
  }

  #connect(channel: string): Link | "full" {
    if (this.#links.size >= MAX_CHANNELS_PER_SOCKET) return "full";
    const link: Link = new Link({
      open: () => this.#open(channel),
      deliver: (text) => this.#send(text),
      refused: (fault) => this.#send(errorFrame(channel, fault)),
      ended: () => {
        if (this.#links.get(channel) === link) this.#links.delete(channel);
      },
      lost: () => this.#restart(),
    });
    this.#links.set(channel, link);
    return link;
  }

  #send(text: string): void {
    try {
      this.#client.send(text);
    } catch {
      this.#closeAll();
    }
  }

  /** Makes the client come back by itself, where the way to one of its channels is lost for good. */
  #restart(): void {
    this.#closeAll();
    try {
      this.#client.close(CLOSE_RESTART, "a channel was lost");
    } catch {
      // It is closed already.
    }
  }

  #closeAll(): void {
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }
}

type Outcome = { ok: true } | { ok: false; fault: Fault; channel?: string | undefined };

const DONE = { ok: true } as const;

function tooManyFrames(retryAfter: number): Outcome {
  const detail = `At most ${FRAMES_PER_SECOND} frames a second are taken; this one was not.`;
  return refuse("rate-limited", detail, { limit: FRAMES_PER_SECOND, retryAfter });
}

/** The channel that a frame names which is wrong elsewhere, so that the error reaches that channel's handlers. */
function channelIn(frame: unknown): string | undefined {
  const options = (frame as { options?: { channel?: unknown } } | null)?.options;
  return typeof options?.channel === "string" ? options.channel : undefined;
}
