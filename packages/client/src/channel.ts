import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Client } from "../../../src/protocol/frames.ts";
import { Connection, type WebSocketConstructor } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import { ChannelError } from "./errors.ts";
import type { ChannelEvents, Status } from "./events.ts";
import { type HistoryOptions, pagesOf } from "./history.ts";
import { NO_MEMBERS, type Presence, presenceOf, updated } from "./members.ts";
import type { ErrorPayload, JoinFrame, Message, Position, PrivateMessage, ServerFrame } from "./messages.ts";
import { MessageSequencer, type Resumed } from "./message-sequencer.ts";
import type { ChannelOptions, PublishOptions, SendOptions } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { Publisher } from "./publisher.ts";
import { jsonOf, validate } from "./schema.ts";
import type { Server } from "./server.ts";

/** A channel that this client has joined. It reconnects and joins again until it is closed. Create one with a client's `channel()`. */
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
  #presence = NO_MEMBERS;
  #me: Client | undefined;
  /** Whether the current connection has joined. */
  #isJoined = false;
  /** Whether `#reportRefusal` has run since the channel was last online. */
  #hasReportedRefusal = false;

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
      works: () => this.#continue(),
    });
  }

  /** Whether the channel is connected. */
  get status(): Status {
    return this.#status;
  }

  /** This client, as other clients see it. Undefined before the first join. */
  get me(): Client | undefined {
    return this.#me;
  }

  /** The last `seq` that this client has reached. Pass it as `after` to resume from here. Undefined before the first join. */
  get seq(): number | undefined {
    return this.#sequencer.last;
  }

  /** The members of the channel. Empty unless the channel was created with `presence`. Each change creates a new array. */
  get presence(): readonly Client[] {
    return this.#presence.members;
  }

  /** Calls a handler with each event of a kind. Returns a function that removes the handler. */
  on<K extends keyof ChannelEvents>(kind: K, handler: (value: ChannelEvents<Out>[K]) => void): () => void {
    // Every payload that reaches a handler has passed the schema.
    return this.#events.on(kind, handler as (value: ChannelEvents[K]) => void);
  }

  /**
   * Publishes an event over HTTP, exactly once. If the server cannot be reached or is busy, the event waits in a queue, in
   * order. The client sends it again with the same idempotency key until the server stores or refuses it.
   *
   * @returns The event's position, once it is stored.
   * @throws ChannelError with the server's error code, or `invalid-payload`, `queue-full` or `closed`. The promise rejects.
   */
  async publish(payload: In, { idempotencyKey }: PublishOptions = {}): Promise<Position> {
    const message = this.#serialize(payload);
    return this.#publisher.publish(`{"channel":${JSON.stringify(this.name)},"message":${message}}`, idempotencyKey);
  }

  /**
   * Sends a message over the socket, at most once. While there is no connection, the message waits in a queue, in order.
   * Once it has been sent, the client does not send it again.
   *
   * @returns The message's position, once the server has delivered the message back to this client. For a private message
   *   (`to`): undefined, as soon as it is sent.
   * @throws ChannelError with the server's error code, or `invalid-payload`, `queue-full` or `closed`. `unconfirmed` means
   *   that the message was sent, but it is unknown whether the server stored it. The promise rejects.
   */
  send(payload: In, options: SendOptions & { to: string }): Promise<undefined>;
  send(payload: In, options?: SendOptions & { to?: never }): Promise<Position>;
  async send(payload: In, { to, authenticated }: SendOptions = {}): Promise<Position | undefined> {
    const text = this.#serialize(payload);
    const options = JSON.stringify({ channel: this.name, socketId: to, authenticated });
    const frame = `{"action":"message","options":${options},"payload":${text}}`;
    return this.#outbox.send({ text: frame, payload: text, isPrivate: to !== undefined });
  }

  /**
   * Reads the channel's history, page by page. With `after` it reads forward. Otherwise it reads backward, from `before` or
   * from the newest message. Within each page the oldest message is first. A message whose payload does not match the schema
   * is left out and reported as an `error` event.
   *
   * @throws ChannelError if the server refuses a request or does not answer.
   */
  async *history(options: HistoryOptions = {}): AsyncGenerator<Message<Out>[]> {
    for await (const page of pagesOf(this.#server, this.name, options)) {
      yield page.flatMap((message) => this.#checked(message) ?? []);
    }
  }

  /** Leaves the channel for good. The promises of messages that are still queued reject with `closed`. */
  close(): void {
    this.#end();
    this.#connection.close();
  }

  /** @throws ChannelError `closed` or `invalid-payload` */
  #serialize(payload: In): string {
    if (this.#status === "closed") throw CLOSED();
    validate(this.#schema, payload);
    return jsonOf(payload);
  }

  #join(): void {
    const { history, presence } = this.#joinOptions;
    const after = this.#sequencer.last;
    // After a reconnect the server sends the missed messages instead of the history.
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
        return "seq" in frame.options ? this.#live(frame as Message) : this.#deliverPrivate(frame as PrivateMessage);
      case "presence_full":
        return this.#showPresence(presenceOf(frame));
      case "presence_update":
        return this.#showPresence(updated(this.#presence, frame));
      case "error":
        return this.#refused(frame.payload);
      case "leave":
    }
  }

  #joined(frame: JoinFrame): void {
    this.#me = frame.client;
    this.#isJoined = true;
    this.#hasReportedRefusal = false;
    this.#outbox.joined(frame.client.socketId, this.#sequencer.last !== undefined);
    this.#sequencer.joined(frame);
    this.#show("online");
    this.#publisher.wake();
  }

  /** The connection was in doubt and has proved to work. Sends the messages that waited meanwhile. */
  #continue(): void {
    if (!this.#isJoined) return;
    this.#show("online");
    this.#outbox.wake();
    this.#sequencer.wake();
    this.#publisher.wake();
  }

  #live(message: Message): void {
    // An echo confirms a sent message at once, even if the message is delivered only after the missed ones.
    this.#outbox.stored(message);
    this.#sequencer.live(message);
  }

  #deliver(message: Message): void {
    this.#outbox.stored(message);
    const checked = this.#checked(message);
    if (checked) this.#emit(checked.action, checked);
  }

  #deliverPrivate(message: PrivateMessage): void {
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
    // The promise of a sent message reports its own error.
    if (!this.#outbox.refused(error)) this.#emit("error", error);
  }

  /**
   * Returns the message with the payload that the schema returns. If the payload does not match the schema, emits an `error`
   * and returns undefined.
   */
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
    if (!opened) void this.#reportRefusal();
  }

  /**
   * Emits an `error` that says why the server refused the connection. A browser hides the reason, so this requests the
   * history over HTTP, which has mostly the same conditions.
   */
  async #reportRefusal(): Promise<void> {
    if (this.#hasReportedRefusal) return;
    this.#hasReportedRefusal = true;
    try {
      await pagesOf(this.#server, this.name, { limit: 1 }).next();
    } catch (error) {
      const { code } = error as ChannelError;
      // The server cannot be reached, so the next failed connection tries again.
      if (code === "network") this.#hasReportedRefusal = false;
      // A channel can forbid its history and still admit the client.
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

  /** Emits nothing once the channel is closed. */
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
