import { Backoff } from "./backoff.ts";
import { Connection, type WebSocketConstructor } from "./connection.ts";
import { ChannelError, isRetryable } from "./errors.ts";
import { postMessage } from "./http-publisher.ts";
import { newId } from "./ids.ts";
import type { Position, ServerFrame } from "./messages.ts";
import { Outbox, type Outgoing } from "./outbox.ts";
import { jsonOf } from "./schema.ts";
import { Server } from "./server.ts";

export { ChannelError } from "./errors.ts";
export type { Position } from "./messages.ts";

const DEFAULT_MAX_IN_FLIGHT = 64;
const LARGEST_MAX_IN_FLIGHT = 1_000;

export interface PublisherOptions {
  /** The server's URL. */
  url: string;
  apiKey: string;
  /** How many events may wait for their answers, 1 to 1,000. By default 64. */
  maxInFlight?: number;
  /** For runtimes without a global WebSocket. Without any, the publisher uses HTTP. */
  WebSocket?: WebSocketConstructor;
}

export interface EventOptions {
  /** The application's name for the event: 1 to 64 characters of `A-Za-z0-9_.:-`. */
  type?: string;
  /** Deliver the event only to users of this auth database (EVT3). */
  database?: string;
  /** The user to whom the event is attributed (EVT4). */
  sender?: { database: string; id: number | string };
  /** Deliver the event to the current subscribers, and do not store it. It is sent at most once. */
  ephemeral?: boolean;
  /** Identifies the event, so that publishing it again stores it once: 1 to 64 visible ASCII characters. By default random. */
  id?: string;
}

/** Publishes events to many channels over one socket. Create one with `createPublisher`. */
export interface Publisher {
  /**
   * Publishes an event. The order of each channel's events is kept. If the connection is lost, the publisher sends the event
   * again with the same id until the server has stored it once.
   *
   * @returns The event's position, once it is stored. For an ephemeral event: undefined, once it is delivered.
   * @throws ChannelError with the server's error code, or `invalid-payload`, `queue-full` or `closed`. For an ephemeral event
   *   also `network` or `unconfirmed`. The promise rejects.
   */
  publish: {
    (channel: string, payload: unknown, options: EventOptions & { ephemeral: true }): Promise<undefined>;
    (channel: string, payload: unknown, options?: EventOptions & { ephemeral?: false }): Promise<Position>;
  };
  /** Waits until every published event has its answer, and then closes the connection. Accepts no new events. */
  close: () => Promise<void>;
}

/**
 * Returns a publisher for a backend, in Node or a Worker. It connects when you publish the first event.
 *
 * @throws TypeError if an option is not valid
 */
export function createPublisher(options: PublisherOptions): Publisher {
  const publisher = new SocketPublisher(options);
  return {
    publish: (async (channel: string, payload: unknown, more?: EventOptions) =>
      publisher.publish(channel, payload, more)) as Publisher["publish"],
    close: () => publisher.close(),
  };
}

class SocketPublisher {
  readonly #server: Server;
  readonly #WebSocket: WebSocketConstructor | undefined;
  readonly #outbox: Outbox;
  readonly #backoff = new Backoff();
  readonly #unanswered = new Set<Promise<unknown>>();
  #connection: Connection | undefined;
  /** How events are sent now: `http` while no socket can be opened. */
  #transport: "none" | "socket" | "http" = "none";
  #isStarted = false;
  #isClosed = false;

  constructor({ url, apiKey, maxInFlight = DEFAULT_MAX_IN_FLIGHT, WebSocket }: PublisherOptions) {
    if (!(Number.isInteger(maxInFlight) && maxInFlight >= 1 && maxInFlight <= LARGEST_MAX_IN_FLIGHT)) {
      throw new TypeError(`maxInFlight must be a whole number from 1 to ${LARGEST_MAX_IN_FLIGHT}; got ${maxInFlight}.`);
    }
    this.#server = new Server(url, apiKey);
    this.#WebSocket = WebSocket;
    this.#outbox = new Outbox({ transmit: (events) => this.#transmit(events), window: maxInFlight });
  }

  async publish(
    channel: string,
    payload: unknown,
    { id, ...options }: EventOptions = {},
  ): Promise<Position | undefined> {
    if (this.#isClosed) throw CLOSED();
    const text = frameOf(channel, jsonOf(payload), { ...options, id: id ?? newId() });
    const answer = this.#outbox.send(text);
    this.#unanswered.add(answer);
    const settled = () => void this.#unanswered.delete(answer);
    answer.then(settled, settled);
    this.#start();
    return answer;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#unanswered);
    this.#backoff.end();
    this.#connection?.close();
    this.#outbox.close(CLOSED());
  }

  #start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    if (!this.#WebSocket && typeof globalThis.WebSocket === "undefined") return this.#use("http");
    this.#connection = new Connection({
      server: this.#server,
      path: SOCKET_PATH,
      WebSocket: this.#WebSocket,
      opened: () => this.#use("socket"),
      received: (frame) => this.#receive(frame),
      lost: (opened) => this.#lost(opened),
      silent: () => {},
      works: () => this.#outbox.wake(),
    });
  }

  #use(transport: "socket" | "http"): void {
    // What was sent another way has no answer yet, and is sent again with the same ids.
    if (this.#transport !== "none") this.#outbox.interrupt();
    this.#transport = transport;
    this.#backoff.succeeded();
    this.#outbox.open();
  }

  /** A socket that cannot be opened may be refused by a proxy. HTTP either works, or has an error that says why. */
  #lost(opened: boolean): void {
    if (opened) {
      this.#transport = "none";
      this.#outbox.interrupt();
    } else if (this.#transport === "none") this.#use("http");
  }

  #receive(frame: ServerFrame): void {
    if (frame.action === "ack") {
      const { id, seq, time } = frame.options;
      this.#outbox.acked(id, seq === undefined || time === undefined ? undefined : { seq, time });
    } else if (frame.action === "error") {
      const { code, message, ...details } = frame.payload;
      // API-key clients need not join, so this key is not one of the server's.
      const error = code === "not-joined" ? WRONG_KEY() : new ChannelError(code, message, details);
      this.#outbox.refused(frame.options.id, error);
    }
  }

  #transmit(events: readonly Outgoing[]): boolean {
    if (this.#transport === "socket") return this.#connection?.send(events.map(({ text }) => text)) ?? false;
    if (this.#transport === "http") void this.#post(events);
    return this.#transport === "http";
  }

  /** Publishes events over HTTP, each channel's one after the other. */
  async #post(events: readonly Outgoing[]): Promise<void> {
    const channels = Map.groupBy(events, ({ channel }) => channel).values();
    const results = await Promise.all([...channels].map((of) => this.#postInOrder(of)));
    const failure = results.find((error) => error !== undefined);
    if (!failure || this.#transport !== "http") return;
    this.#backoff.failed(failure);
    this.#outbox.interrupt();
    await this.#backoff.pause();
    if (this.#transport === "http") this.#outbox.open();
  }

  /** Returns the error of the first event that has no answer, if any. The events after it are not sent. */
  async #postInOrder(events: readonly Outgoing[]): Promise<ChannelError | undefined> {
    for (const { id, text, kind } of events) {
      try {
        this.#outbox.acked(id, await postMessage(this.#server, bodyOf(text), kind === "stored" ? id : null));
        this.#backoff.succeeded();
      } catch (reason) {
        const error = reason as ChannelError;
        if (isRetryable(error) && error.retryAfter === undefined) return error;
        this.#outbox.refused(id, error);
        if (isRetryable(error)) return undefined;
      }
    }
    return undefined;
  }
}

const SOCKET_PATH = "/socket?frames=batch";

/** Returns an event as a frame to send. @param payload JSON */
function frameOf(channel: string, payload: string, options: EventOptions & { id: string }): Outgoing {
  const { id, ephemeral } = options;
  const head = JSON.stringify({ action: "event", options: { channel, ...options } }).slice(0, -1);
  const kind = ephemeral === true ? "ephemeral" : "stored";
  return { id, channel, text: `${head},"payload":${payload}}`, kind };
}

/** Returns a frame as the body of `POST /message`, JSON. */
function bodyOf(text: string): string {
  const { options, payload } = JSON.parse(text) as { options: Record<string, unknown>; payload: unknown };
  return JSON.stringify({ ...options, id: undefined, message: payload });
}

const WRONG_KEY = () =>
  new ChannelError(
    "unauthorized",
    "The server does not know this API key. Pass one of the keys in its secret API_KEYS.",
  );
const CLOSED = () => new ChannelError("closed", "The publisher was closed, so the event was not published.");
