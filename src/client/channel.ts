import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Client } from "../protocol/frames.ts";
import { Connection, type WebSocketConstructor } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import { ChannelError } from "./errors.ts";
import type { ChannelEvents, Status } from "./events.ts";
import { type HistoryOptions, pagesOf } from "./history.ts";
import { allOf, changed, NOBODY, type Presence } from "./members.ts";
import type { ErrorPayload, JoinFrame, Message, Position, PrivateMessage, ServerFrame } from "./messages.ts";
import { MessageSequencer, type Resumed } from "./message-sequencer.ts";
import type { ChannelOptions, PublishOptions, SendOptions } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { Publisher } from "./publisher.ts";
import { jsonOf, validate } from "./schema.ts";
import type { Server } from "./server.ts";

/** A channel, joined and kept so until it is closed. Made by a client's `channel()`. */
export class Channel<In = unknown, Out = In> {
  readonly name: string;
  readonly #server: Server;
  readonly #joinOptions: { history: boolean; presence: boolean };
  readonly #schema: StandardSchemaV1<unknown, Out> | undefined;
  readonly #events = new Emitter<ChannelEvents>();
  readonly #connection: Connection;
  readonly #sequencer: MessageSequencer;
  readonly #outbox: Outbox;
  readonly #publisher: Publisher;
  #status: Status = "connecting";
  #presence = NOBODY;
  #me: Client | undefined;
  /** Whether the present connection has joined. */
  #isJoined = false;
  /** Whether it was asked why there is no connection. */
  #asked = false;

  constructor(server: Server, name: string, options: ChannelOptions<In, Out>, WebSocket?: WebSocketConstructor) {
    this.name = name;
    this.#server = server;
    this.#joinOptions = { history: options.history === true, presence: options.presence === true };
    this.#schema = options.schema;
    this.#publisher = new Publisher(server);
    this.#outbox = new Outbox((frame) => this.#connection.send(frame));
    this.#sequencer = new MessageSequencer({
      server,
      channel: name,
      after: options.after,
      deliver: (message) => this.#deliver(message),
      resumed: (resumed) => this.#resumed(resumed),
    });
    this.#connection = new Connection({
      server,
      channel: name,
      WebSocket,
      opened: () => this.#join(),
      received: (frame) => this.#receive(frame),
      lost: (opened, final) => this.#lost(opened, final),
      silent: () => this.#show("offline"),
      works: () => this.#goOn(),
    });
  }

  get status(): Status {
    return this.#status;
  }

  /** This client as the others see it; undefined before it has joined. */
  get me(): Client | undefined {
    return this.#me;
  }

  /** The last `seq` seen: where an `after` would resume. */
  get seq(): number | undefined {
    return this.#sequencer.last;
  }

  /** Who is here, where the channel was made with `presence`; a new list with each change. */
  get presence(): readonly Client[] {
    return this.#presence.members;
  }

  /** Has a handler called with each value of a kind; answers how to take it away again. */
  on<K extends keyof ChannelEvents>(kind: K, handler: (value: ChannelEvents<Out>[K]) => void): () => void {
    // What reaches a handler has passed the schema.
    return this.#events.on(kind, handler as (value: ChannelEvents[K]) => void);
  }

  /**
   * Publishes an event by HTTP, exactly once: what finds no server waits, in order, and is sent again by its key until it is
   * stored or refused. Resolves to its place once it is stored.
   *
   * @throws ChannelError, as the rejection: what the server refused, `invalid-payload`, `queue-full`, `closed`
   */
  async publish(payload: In, { idempotencyKey }: PublishOptions = {}): Promise<Position> {
    const message = this.#written(payload);
    return this.#publisher.publish(`{"channel":${JSON.stringify(this.name)},"message":${message}}`, idempotencyKey);
  }

  /**
   * Sends a message over the socket, at most once: what has no connection waits, in order; what was sent is not sent again.
   * Resolves to its place once its echo is here, and for a private one to undefined, once it is on its way.
   *
   * @throws ChannelError, as the rejection: what the server refused, `unconfirmed` where the connection was lost and it
   *   cannot be told whether it was stored, `invalid-payload`, `queue-full`, `closed`
   */
  send(payload: In, options: SendOptions & { to: string }): Promise<undefined>;
  send(payload: In, options?: SendOptions & { to?: never }): Promise<Position>;
  async send(payload: In, { to, authenticated }: SendOptions = {}): Promise<Position | undefined> {
    const text = this.#written(payload);
    const options = JSON.stringify({ channel: this.name, socketId: to, authenticated });
    const frame = `{"action":"message","options":${options},"payload":${text}}`;
    return this.#outbox.send({ text: frame, payload: text, isPrivate: to !== undefined });
  }

  /**
   * Pages through what was said: forwards with `after`, otherwise backwards from the newest or from `before`. Each page is
   * oldest first; a message whose payload the schema does not allow is left out, and reported as an `error`.
   *
   * @throws ChannelError
   */
  async *history(options: HistoryOptions = {}): AsyncGenerator<Message<Out>[]> {
    for await (const page of pagesOf(this.#server, this.name, options)) {
      yield page.flatMap((message) => this.#checked(message) ?? []);
    }
  }

  /** Leaves the channel for good. What still waits to be sent is rejected. */
  close(): void {
    this.#end();
    this.#connection.close();
  }

  #written(payload: In): string {
    if (this.#status === "closed") throw CLOSED();
    validate(this.#schema, payload);
    return jsonOf(payload);
  }

  #join(): void {
    const { history, presence } = this.#joinOptions;
    const after = this.#sequencer.last;
    // Coming back, what was missed takes the history's place.
    const payload = { history: history && after === undefined, presence };
    this.#connection.send(JSON.stringify({ action: "join", options: { channel: this.name, after }, payload }));
  }

  #receive(frame: ServerFrame): void {
    this.#emit("frame", frame);
    switch (frame.action) {
      case "join":
        return this.#joined(frame);
      case "history":
        return this.#sequencer.begin(frame.payload, frame.options.seq);
      case "event":
      case "message":
        return "seq" in frame.options ? this.#live(frame as Message) : this.#whisper(frame as PrivateMessage);
      case "presence_full":
        return this.#showPresence(allOf(frame));
      case "presence_update":
        return this.#showPresence(changed(this.#presence, frame));
      case "error":
        return this.#refused(frame.payload);
      case "leave":
    }
  }

  #joined(frame: JoinFrame): void {
    this.#me = frame.client;
    this.#isJoined = true;
    this.#asked = false;
    this.#outbox.joined(frame.client.socketId, this.#sequencer.last !== undefined);
    this.#sequencer.joined(frame);
    this.#show("online");
    this.#publisher.wake();
  }

  /** The connection was in doubt, and works: what waited meanwhile is sent. */
  #goOn(): void {
    if (!this.#isJoined) return;
    this.#show("online");
    this.#outbox.wake();
    this.#sequencer.wake();
    this.#publisher.wake();
  }

  #live(message: Message): void {
    // An echo confirms at once, even if its message is delivered only after the missed ones.
    this.#outbox.stored(message);
    this.#sequencer.live(message);
  }

  #deliver(message: Message): void {
    this.#outbox.stored(message);
    const checked = this.#checked(message);
    if (checked) this.#emit(checked.action, checked);
  }

  #whisper(message: PrivateMessage): void {
    const checked = this.#checked(message);
    if (checked) this.#emit("private", checked);
  }

  #resumed(resumed: Resumed): void {
    this.#show("online");
    this.#outbox.resumed();
    this.#emit("resumed", resumed);
  }

  #refused({ code, message, ...details }: ErrorPayload): void {
    const error = new ChannelError(code, message, details);
    // What was sent is told by its own promise.
    if (!this.#outbox.refused(error)) this.#emit("error", error);
  }

  /** The message with its payload as the schema has it; undefined, and an `error`, where it does not allow it. */
  #checked<M extends { payload: unknown }>(message: M): (M & { payload: Out }) | undefined {
    try {
      return { ...message, payload: validate(this.#schema, message.payload) };
    } catch (error) {
      if (!(error instanceof ChannelError)) throw error;
      this.#emit("error", error);
      return undefined;
    }
  }

  #lost(opened: boolean, final: boolean): void {
    if (this.#status === "closed") return;
    this.#isJoined = false;
    this.#sequencer.interrupt();
    this.#outbox.interrupt();
    if (final) return this.#end();
    this.#show("offline");
    if (!opened) void this.#askWhy();
  }

  /** A browser does not tell why a connection was refused; the history, mostly behind the same conditions, may. */
  async #askWhy(): Promise<void> {
    if (this.#asked) return;
    this.#asked = true;
    try {
      await pagesOf(this.#server, this.name, { limit: 1 }).next();
    } catch (error) {
      const { code } = error as ChannelError;
      // Nobody is there; it will be asked again.
      if (code === "network") this.#asked = false;
      // A channel may show no history and yet admit its clients.
      else if (code !== "forbidden") this.#emit("error", error as ChannelError);
    }
  }

  #end(): void {
    this.#sequencer.close();
    this.#publisher.close(CLOSED());
    this.#outbox.close(CLOSED());
    this.#show("closed");
  }

  #showPresence(presence: Presence): void {
    this.#presence = presence;
    this.#emit("presence", presence);
  }

  /** Once it is closed, nothing comes any more. */
  #emit<K extends keyof ChannelEvents>(kind: K, value: ChannelEvents[K]): void {
    if (this.#status !== "closed") this.#events.emit(kind, value);
  }

  #show(status: Status): void {
    if (status === this.#status || this.#status === "closed") return;
    this.#status = status;
    this.#events.emit("status", status);
  }
}

const CLOSED = () => new ChannelError("closed", "The channel was closed before the message was stored.");
