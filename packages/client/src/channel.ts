import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Client } from "../../../src/protocol/frames.ts";
import { Backoff } from "./backoff.ts";
import type { ConnectionHandlers, Link } from "./connection.ts";
import { Emitter } from "./emitter.ts";
import { ChannelError } from "./errors.ts";
import type { ChannelEvents, MessageKind, Status } from "./events.ts";
import { type HistoryOptions, pagesOf } from "./history.ts";
import { newId } from "./ids.ts";
import { type Member, NO_MEMBERS, type Presence, presenceOf, updated } from "./members.ts";
import type {
  EphemeralMessage,
  ErrorPayload,
  JoinFrame,
  Message,
  Position,
  PrivateMessage,
  ServerFrame,
  UserRef,
} from "./messages.ts";
import { MessageSequencer, type Resumed } from "./message-sequencer.ts";
import type { ChannelOptions, PublishOptions, SendOptions } from "./options.ts";
import { Outbox, type OutboxStorage, type Outgoing } from "./outbox.ts";
import { PresenceState } from "./presence-state.ts";
import { HttpPublisher } from "./http-publisher.ts";
import { jsonOf, validate } from "./schema.ts";
import type { Server } from "./server.ts";

/** A channel that this client has joined. It reconnects and joins again until it is closed. Create one with a client's `channel()`. */
export class Channel<In = unknown, Out = In> {
  readonly name: string;
  readonly #server: Server;
  readonly #joinOptions: { history: boolean; presence: boolean };
  readonly #schema: StandardSchemaV1<unknown, Out> | undefined;
  readonly #events = new Emitter<ChannelEvents>();
  readonly #link: Link;
  readonly #sequencer: MessageSequencer;
  readonly #outbox: Outbox;
  readonly #state: PresenceState;
  readonly #publisher: HttpPublisher;
  #status: Status = "connecting";
  #presence = NO_MEMBERS;
  #me: Client | undefined;
  /** Whether the current connection has joined. */
  #isJoined = false;
  /** The id of the last join that has no answer. */
  #joinId: string | undefined;
  /** Spaces out joins that were refused. */
  readonly #joins = new Backoff();
  /** Whether `#reportRefusal` has run since the channel was last online. */
  #hasReportedRefusal = false;

  constructor(
    server: Server,
    name: string,
    options: ChannelOptions<In, Out>,
    connect: (handlers: ConnectionHandlers) => Link,
    storage?: OutboxStorage,
  ) {
    this.name = name;
    this.#server = server;
    this.#joinOptions = { history: options.history === true, presence: options.presence === true };
    this.#schema = options.schema;
    this.#publisher = new HttpPublisher(server);
    this.#outbox = new Outbox({
      transmit: (messages) => this.#link.send(messages.map(({ text }) => text)),
      pace: (frame) => this.#link.pacer.take(frame),
      shelf: storage && { storage, channel: name, failed: (error) => this.#emit("error", error) },
    });
    this.#state = new PresenceState((state) => this.#transmit("presence", {}, state, "ephemeral"));
    this.#sequencer = new MessageSequencer({
      server,
      channel: name,
      after: options.after,
      deliver: (message) => this.#deliver(message.action, message),
      resumed: (resumed) => this.#resumed(resumed),
    });
    this.#link = connect({
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
  get presence(): readonly Member[] {
    return this.#presence.members;
  }

  /** Calls a handler with each event of a kind, or only with messages of a type. Returns a function that removes the handler. */
  on<K extends keyof ChannelEvents>(kind: K, handler: (value: ChannelEvents<Out>[K]) => void): () => void;
  on<K extends MessageKind>(kind: K, type: string, handler: (value: ChannelEvents<Out>[K]) => void): () => void;
  on<K extends keyof ChannelEvents>(
    kind: K,
    ...rest: [(value: ChannelEvents<Out>[K]) => void] | [string, (value: ChannelEvents<Out>[K]) => void]
  ): () => void {
    // Every payload that reaches a handler has passed the schema.
    const handler = rest.at(-1) as (value: ChannelEvents[K]) => void;
    if (rest.length === 1) return this.#events.on(kind, handler);
    const [type] = rest;
    return this.#events.on(kind, (value) => {
      if ((value as ChannelEvents[MessageKind]).options.type === type) handler(value);
    });
  }

  /**
   * Publishes an event over HTTP, exactly once. If the server cannot be reached or is busy, the event waits in a queue, in
   * order. The client sends it again with the same idempotency key until the server stores or refuses it.
   *
   * @returns The event's position, once it is stored. For an ephemeral event: undefined, once it is delivered.
   * @throws ChannelError with the server's error code, or `invalid-payload`, `queue-full` or `closed`. An ephemeral event is
   *   sent once, so its error may also be `network`. The promise rejects.
   */
  publish(payload: In, options: PublishOptions & { ephemeral: true }): Promise<undefined>;
  publish(payload: In, options?: PublishOptions & { ephemeral?: false }): Promise<Position>;
  async publish(payload: In, options: PublishOptions = {}): Promise<Position | undefined> {
    const { idempotencyKey, type, ephemeral } = options;
    const message = this.#serialize(payload);
    const fields = JSON.stringify({ channel: this.name, type, ephemeral }).slice(0, -1);
    return this.#publisher.publish(`${fields},"message":${message}}`, ephemeral === true ? null : idempotencyKey);
  }

  /**
   * Sends a message over the socket. While there is no connection, the message waits in a queue, in order. If the connection
   * is lost before the server has answered, the client sends the message again with the same id, so it is stored exactly
   * once. The client sends a private message (`to`) only once.
   *
   * @returns The message's position, once the server has stored it. For a private message: undefined, once the server has
   *   delivered it.
   * @throws ChannelError with the server's error code, or `invalid-payload`, `queue-full` or `closed`. For a private message
   *   `unconfirmed` means that it is unknown whether the server has delivered it. The promise rejects.
   */
  send(payload: In, options: SendOptions & { to: string | UserRef }): Promise<undefined>;
  send(payload: In, options?: SendOptions & { to?: never }): Promise<Position>;
  async send(payload: In, { to, ...options }: SendOptions = {}): Promise<Position | undefined> {
    const recipient = typeof to === "object" ? { user: to } : { socketId: to };
    const kind = to === undefined ? "stored" : "private";
    return this.#transmit("message", { ...options, ...recipient }, this.#serialize(payload), kind);
  }

  /**
   * Sends a message to the current subscribers, which the server does not store: typing indicators, cursors. It is sent at
   * most once, and dropped while the channel is offline.
   *
   * @throws ChannelError with the server's error code, or `invalid-payload`, `queue-full` or `closed`. `network`: there is no
   *   connection. `unconfirmed`: it is unknown whether the server has delivered the message. The promise rejects.
   */
  async sendEphemeral(payload: In, options: Omit<SendOptions, "to"> = {}): Promise<void> {
    await this.#transmit("message", { ...options, ephemeral: true }, this.#serialize(payload), "ephemeral");
  }

  /**
   * Sets this client's state, which the other members see in `presence`: at most 1,024 bytes of JSON. The client sends it
   * again after each reconnect. `{}` clears it.
   *
   * @returns Resolves once the server has this state, or a later one.
   * @throws ChannelError with the server's error code, or `invalid-payload` or `closed`. The promise rejects.
   */
  async setPresence(state: Record<string, unknown>): Promise<void> {
    if (this.#status === "closed") throw CLOSED();
    return this.#state.set(jsonOf(state));
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

  /** Receives the members from now on, like the option `presence`. */
  watchPresence(): void {
    if (this.#joinOptions.presence) return;
    this.#joinOptions.presence = true;
    if (this.#isJoined) this.#join();
  }

  /** Leaves the channel for good. The promises of messages that are still queued reject with `closed`. */
  close(): void {
    this.#end();
    this.#link.close();
  }

  /** @throws ChannelError `closed` or `invalid-payload` */
  #serialize(payload: In): string {
    if (this.#status === "closed") throw CLOSED();
    validate(this.#schema, payload);
    return jsonOf(payload);
  }

  /** Sends a frame. Resolves once the server has answered it. @param payload JSON */
  #transmit(
    action: "message" | "presence",
    options: SendOptions & Record<string, unknown>,
    payload: string,
    kind: Outgoing["kind"],
  ): Promise<Position | undefined> {
    const { id = newId() } = options;
    const head = JSON.stringify({ action, options: { channel: this.name, id, ...options } }).slice(0, -1);
    return this.#outbox.send({ id, channel: this.name, text: `${head},"payload":${payload}}`, kind });
  }

  #join(): void {
    const { history, presence } = this.#joinOptions;
    const after = this.#sequencer.last;
    // After a reconnect the server sends the missed messages instead of the history.
    const payload = { history: history && after === undefined, presence };
    const id = newId();
    this.#joinId = id;
    this.#link.send([JSON.stringify({ action: "join", options: { channel: this.name, id, after }, payload })]);
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
        return this.#receiveMessage(frame);
      case "ack":
        return this.#acked(frame.options);
      case "presence_full":
        return this.#showPresence(presenceOf(frame));
      case "presence_update":
        return this.#showPresence(updated(this.#presence, frame));
      case "error":
        return this.#refused(frame.options.id, frame.payload);
      case "leave":
    }
  }

  #joined(frame: JoinFrame): void {
    this.#me = frame.client;
    this.#isJoined = true;
    this.#joinId = undefined;
    this.#joins.succeeded();
    this.#hasReportedRefusal = false;
    this.#outbox.open();
    this.#state.open();
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

  #receiveMessage(frame: Message | PrivateMessage | EphemeralMessage): void {
    // On a shared connection, frames for an earlier channel object may still be on their way.
    if (!this.#isJoined) return;
    const { options } = frame;
    if ("seq" in options) this.#sequencer.live(frame as Message);
    else if ("socketId" in options || "user" in options) this.#deliver("private", frame);
    else this.#deliver("ephemeral", frame);
  }

  /** Emits a message, if its payload matches the schema. */
  #deliver(kind: MessageKind, message: ChannelEvents[MessageKind]): void {
    const checked = this.#checked(message);
    if (checked) this.#emit(kind, checked);
  }

  #acked({ id, seq, time }: { id: string; seq?: number; time?: string }): void {
    this.#outbox.acked(id, seq === undefined || time === undefined ? undefined : { seq, time });
  }

  #resumed(resumed: Resumed): void {
    this.#show("online");
    this.#emit("resumed", resumed);
  }

  #refused(id: string | undefined, { code, message, ...details }: ErrorPayload): void {
    const error = new ChannelError(code, message, details);
    if (id !== undefined && id === this.#joinId) return void this.#joinAgain(error);
    // The promise of a sent message reports its own error.
    if (!this.#outbox.refused(id, error)) this.#emit("error", error);
  }

  /** The connection is open, but the server has refused the join. */
  async #joinAgain(error: ChannelError): Promise<void> {
    const id = this.#joinId;
    this.#emit("error", error);
    if (!this.#isJoined) this.#show("offline");
    this.#joins.failed(error);
    await this.#joins.pause();
    if (this.#joinId === id && this.#status !== "closed") this.#join();
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
    this.#joinId = undefined;
    this.#sequencer.interrupt();
    this.#outbox.interrupt();
    this.#state.interrupt();
    if (opened) this.#publisher.interrupt();
    if (final) return this.#end();
    this.#show("offline");
    if (!opened) void this.#reportRefusal();
  }

  /**
   * Emits an `error` that says why the server refused the connection. A browser hides the reason, so this requests the
   * history over HTTP, which has mostly the same conditions.
   */
  async #reportRefusal(): Promise<void> {
    const isReported = this.#hasReportedRefusal;
    // The answer also shows whether the token is refused, and the client then gets a new one.
    if (isReported && !this.#server.credential.isRenewable) return;
    this.#hasReportedRefusal = true;
    try {
      await pagesOf(this.#server, this.name, { limit: 1 }).next();
    } catch (error) {
      const { code } = error as ChannelError;
      // The server cannot be reached, so the next failed connection tries again.
      if (code === "network") this.#hasReportedRefusal = false;
      // A channel can forbid its history and still admit the client.
      else if (code !== "forbidden" && !isReported) this.#emit("error", error as ChannelError);
    }
  }

  #end(): void {
    this.#joinId = undefined;
    this.#joins.end();
    this.#sequencer.close();
    this.#publisher.close(CLOSED());
    this.#outbox.close(CLOSED());
    this.#state.close(CLOSED());
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
