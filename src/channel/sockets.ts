import { authorize, type Identity } from "../auth/policy.ts";
import { CLOSE } from "../protocol/close.ts";
import type { Recipient } from "../protocol/frames.ts";
import type { Client, Members } from "../protocol/frames.ts";
import type { ChannelSettings } from "../protocol/channel-settings.ts";
import { Backpressure, HEARTBEAT_TIMEOUT_MS, type Verdict } from "./backpressure.ts";
import { asBatch, batchesOf, Fanout, type Replaced } from "./fanout.ts";
import type { Metrics } from "./metrics.ts";

/** The group of all sockets of API-key clients. */
export const SERVER_GROUP = "server";

/** The data of a socket that must survive hibernation. Serialized, it may have 16,384 bytes. */
export interface Attachment {
  socketId: string;
  identity: Identity;
  /** Whether the socket gets batch frames. */
  batch: boolean;
  joined: boolean;
  /** Whether the socket asked for presence. */
  presence: boolean;
  /** Whether the client may receive messages, by the last known settings. Used while the settings are not known. */
  receives: boolean;
  /** The state that the member has set. */
  state?: Record<string, unknown>;
}

/** The client that publishes or sends a message. Its own sockets get the message with its id. */
export interface Origin {
  who: Identity;
  /** The socket that the message arrived over, if any. */
  socket?: WebSocket;
}

/** How a message is delivered to all subscribers. */
export interface Delivery {
  /** The auth database to whose users the message is restricted, null if every client may read it. */
  database: string | null;
  /** The `socketId` of a client that does not get the message. */
  except?: string | undefined;
  /** Whether slow clients do not get it. */
  isEphemeral?: boolean;
  /** The sender, and the frame that only its own sockets get. */
  own?: { origin: Origin; frame: string } | undefined;
}

/**
 * Data of a socket that is needed so often that it is kept outside the attachment, which would have to be deserialized.
 */
type SocketMeta = Pick<Attachment, "batch"> & { group: string };

/**
 * The channel's sockets. The runtime keeps the sockets and their attachments while the object hibernates. The
 * constructor rebuilds the rest from them.
 */
export class Sockets {
  readonly #ctx: DurableObjectState;
  readonly #settings: () => ChannelSettings | null | undefined;
  readonly #onLeft: (client: Client) => void;
  readonly #metrics: Metrics;
  readonly #metas = new Map<WebSocket, SocketMeta>();
  /** The number of open sockets in each group. */
  readonly #groups = new Map<string, number>();
  /** The sockets that have joined. */
  readonly #fanout = new Fanout((socket, text) => transmit(socket, text));
  readonly #backpressure: Backpressure<WebSocket>;
  /** The answers to send at the end of this turn of the event loop. */
  readonly #answers = new Map<WebSocket, string[]>();
  /** The earliest time at which a token may expire, in milliseconds since the epoch. */
  #nextExpiry = Infinity;
  /** The earliest time at which a client may be found gone, in milliseconds since the epoch. */
  #nextGone = Infinity;

  /**
   * @param settings Returns the settings that hold, null if none hold, undefined if the settings are not known.
   * @param onLeft Called with each member that leaves. API-key clients are not members.
   */
  constructor(
    ctx: DurableObjectState,
    settings: () => ChannelSettings | null | undefined,
    onLeft: (client: Client) => void,
    metrics: Metrics,
  ) {
    this.#ctx = ctx;
    this.#settings = settings;
    this.#onLeft = onLeft;
    this.#metrics = metrics;
    const heartbeatOf = (socket: WebSocket) => ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
    this.#backpressure = new Backpressure(heartbeatOf);
    for (const socket of ctx.getWebSockets()) {
      const attachment = this.attachment(socket);
      this.#track(socket, { batch: attachment.batch, group: ctx.getTags(socket).at(-1) ?? "" });
      if (attachment.joined) this.#subscribe(socket, attachment);
      this.#noteExpiry(attachment.identity);
    }
    this.#nextGone = this.#backpressure.nextGone();
  }

  /** The number of sockets that have joined. */
  get subscribed(): number {
    return this.#fanout.size;
  }

  /** When to check for expired tokens, in milliseconds since the epoch; Infinity if no token can expire. */
  get nextExpiry(): number {
    return this.#nextExpiry;
  }

  /**
   * When to check for clients that are gone even if nothing else happens, in milliseconds since the epoch. Infinity if
   * nobody would notice: only clients that asked for presence get updates, and only about other clients.
   */
  get nextGone(): number {
    if (this.#nextGone === Infinity || this.#fanout.size < 2) return Infinity;
    return this.#fanout.isWatched ? this.#nextGone : Infinity;
  }

  /** Returns the number of open sockets, or of the open sockets of one group. */
  count(group?: string): number {
    return group === undefined ? this.#metas.size : (this.#groups.get(group) ?? 0);
  }

  /** @param group The tag of the sockets that limits count together: a user's, or an address's. */
  accept(socket: WebSocket, group: string, opened: Pick<Attachment, "socketId" | "identity" | "batch">): void {
    const { identity, socketId, batch } = opened;
    // The group is the last tag: the constructor reads it from there.
    this.#ctx.acceptWebSocket(socket, [`kind:${identity.kind}`, `id:${socketId}`, group]);
    this.#saveAttachment(socket, { ...opened, joined: false, presence: false, receives: false });
    this.#track(socket, { batch, group });
    this.#noteExpiry(identity);
  }

  attachment(socket: WebSocket): Attachment {
    return socket.deserializeAttachment() as Attachment;
  }

  /** Returns the sockets of users and anonymous clients. */
  clients(): WebSocket[] {
    return [...this.#ctx.getWebSockets("kind:user"), ...this.#ctx.getWebSockets("kind:anonymous")];
  }

  /** Returns the joined sockets that a message for these recipients reaches. */
  recipients(to: Recipient): WebSocket[] {
    const tag = "user" in to ? userGroup(to.user) : `id:${to.socketId}`;
    return this.#joined(tag).filter((socket) => this.#fanout.reaches(socket, FOR_ALL));
  }

  #joined(tag: string): WebSocket[] {
    return this.#ctx.getWebSockets(tag).filter((socket) => this.#fanout.has(socket));
  }

  /** Whether this object has not closed the socket. */
  isOpen(socket: WebSocket): boolean {
    return this.#metas.has(socket);
  }

  /** Returns the group that a socket is counted in, undefined if the socket was closed. */
  groupOf(socket: WebSocket): string | undefined {
    return this.#metas.get(socket)?.group;
  }

  /** Whether a socket has joined. */
  hasJoined(socket: WebSocket): boolean {
    return this.#fanout.has(socket);
  }

  /** Lets a socket join, or changes what it joined with. It receives later broadcasts. */
  join(socket: WebSocket, presence: boolean): void {
    // Comes first, so that the socket gets no updates about clients that left before it joined.
    this.dropStale();
    const attachment = { ...this.attachment(socket), joined: true, presence };
    this.#saveAttachment(socket, attachment);
    this.#subscribe(socket, attachment);
    // The socket has sent no heartbeat yet, so `nextGone` of the heartbeats does not include it.
    this.#nextGone = Math.min(this.#nextGone, Date.now() + HEARTBEAT_TIMEOUT_MS);
  }

  /** Ends the delivery to a socket, after sending it everything that was broadcast before. */
  leave(socket: WebSocket): void {
    this.#fanout.flushFor(socket);
    this.#unsubscribe(socket);
  }

  /** Sends a message to every socket that joined and may read it. */
  broadcast(frame: string, message: Delivery): void {
    const { own, database } = message;
    const replaced = this.#replacements(message);
    const forServers = own?.origin.who.kind === "server" ? own.frame : frame;
    this.#metrics.deliveries += this.#fanout.message(frame, message, replaced, forServers);
    // A message for all subscribers is counted once, not once per socket.
    if (database === null) this.#backpressure.broadcast(frame.length);
    else for (const socket of this.#fanout.readers(message)) this.#sent(socket, frame.length);
    for (const [socket, other] of replaced ?? []) this.#sent(socket, (other?.length ?? 0) - frame.length);
    this.dropStale();
  }

  /** Returns the sockets that get another frame than the others, or none. */
  #replacements({ own, except, isEphemeral }: Delivery): Replaced | undefined {
    if (own === undefined && except === undefined && !isEphemeral) return undefined;
    const replaced = new Map<WebSocket, string | null>();
    if (own) for (const socket of this.#socketsOf(own.origin)) replaced.set(socket, own.frame);
    if (except !== undefined) for (const socket of this.#joined(`id:${except}`)) replaced.set(socket, null);
    if (isEphemeral)
      for (const socket of this.#fanout.sockets(() => true)) if (this.isBehind(socket)) replaced.set(socket, null);
    return replaced;
  }

  /** Returns the joined sockets of a sender: a user's, or the one socket of an anonymous client. */
  #socketsOf({ who, socket }: Origin): WebSocket[] {
    // All API-key clients get the same frame, so theirs needs no replacement.
    if (who.kind === "server") return [];
    if (who.kind === "user") return this.#joined(userGroup(who));
    return socket && this.#fanout.has(socket) ? [socket] : [];
  }

  /** Whether a client has so much unconfirmed text that it gets nothing that it can do without. */
  isBehind(socket: WebSocket): boolean {
    return this.#backpressure.isBehind(socket);
  }

  /** Sends a message to its own sender, if the sender has joined and `broadcast` did not reach it. */
  echo(sender: WebSocket, message: { database: string | null }, frameOf: () => string): void {
    if (!this.#fanout.has(sender) || this.#fanout.reaches(sender, message)) return;
    this.#metrics.deliveries += 1;
    this.send(sender, frameOf());
  }

  /** Whether any socket gets presence updates. */
  get isWatched(): boolean {
    return this.#fanout.isWatched;
  }

  /** Sends an update about a member to all sockets that asked for presence, except its own and those in `except`. */
  announce(frame: string, { socketId }: Client, except: ReadonlyMap<WebSocket, unknown>): void {
    const excluded = new Map([...except.keys(), ...this.#joined(`id:${socketId}`)].map((socket) => [socket, null]));
    this.#fanout.presence(frame, excluded);
    for (const socket of this.#fanout.watchers()) if (!excluded.has(socket)) this.#sent(socket, frame.length);
  }

  /** Sends a presence update to one socket, if it still asks for presence. */
  notify(watcher: WebSocket, frame: string): void {
    if (this.#fanout.watches(watcher)) this.send(watcher, frame);
  }

  /** Returns the members: their total, and at most `limit` of them. */
  members(limit: number): Members {
    this.dropStale();
    const present = this.#fanout.sockets(({ identity }) => identity.kind !== "server");
    return {
      total: present.length,
      presence: present.slice(0, limit).map((socket) => {
        const { identity, socketId, state } = this.attachment(socket);
        return memberOf(identity, socketId, state);
      }),
    };
  }

  /** Sends frames to one socket, after everything that was sent to it before. */
  send(socket: WebSocket, ...frames: string[]): void {
    this.#fanout.flushFor(socket);
    const isBatch = this.#metas.get(socket)?.batch === true;
    for (const text of isBatch ? batchesOf(frames) : frames) transmit(socket, text);
    this.#sent(
      socket,
      frames.reduce((sum, { length }) => sum + length, 0),
    );
  }

  /**
   * Sends answers to one socket at the end of this turn of the event loop, even before frames that wait in a batch. They
   * say nothing about the order of messages.
   */
  answer(socket: WebSocket, frames: readonly string[]): void {
    if (frames.length === 0) return;
    if (this.#answers.size === 0) queueMicrotask(() => this.#sendAnswers());
    const waiting = this.#answers.get(socket);
    if (waiting) waiting.push(...frames);
    else this.#answers.set(socket, [...frames]);
  }

  #sendAnswers(): void {
    for (const [socket, frames] of this.#answers) {
      const isBatch = this.#metas.get(socket)?.batch === true;
      for (const text of isBatch ? [asBatch(frames)] : frames) transmit(socket, text);
      this.#sent(
        socket,
        frames.reduce((sum, { length }) => sum + length, 0),
      );
    }
    this.#answers.clear();
  }

  /** Sets the state of a member. Returns the member before and after. */
  setState(socket: WebSocket, state: Record<string, unknown>): [before: Client, after: Client] {
    const attachment = this.attachment(socket);
    const { identity, socketId } = attachment;
    this.#saveAttachment(socket, { ...attachment, state });
    return [memberOf(identity, socketId, attachment.state), memberOf(identity, socketId, state)];
  }

  /** Applies changed settings to the sockets that have joined. */
  applySettings(): void {
    for (const socket of this.#fanout.sockets(() => true)) this.#subscribe(socket, this.attachment(socket));
  }

  /** Closes slow clients and clients that are gone, if a check is due. */
  dropStale(): void {
    const now = Date.now();
    if (now < this.#nextGone && !this.#backpressure.isDue(now)) return;
    for (const [socket, verdict] of this.#backpressure.check(now)) this.#drop(socket, verdict);
    this.#nextGone = this.#backpressure.nextGone();
  }

  /** Returns the sockets whose tokens have expired. */
  expired(now: number): WebSocket[] {
    if (now < this.#nextExpiry) return [];
    this.#nextExpiry = Infinity;
    return this.#ctx.getWebSockets("kind:user").filter((socket) => {
      const { identity } = this.attachment(socket);
      const isExpired = identity.kind === "user" && identity.expires <= now;
      if (!isExpired && socket.readyState === WebSocket.OPEN) this.#noteExpiry(identity);
      return isExpired;
    });
  }

  /** Closes a socket and forgets it. If the client has closed it already, this completes the closing handshake. */
  close(socket: WebSocket, code: number, reason: string): void {
    this.#untrack(socket);
    this.#unsubscribe(socket);
    try {
      socket.close(sendableCloseCode(code), reason);
    } catch {
      // The runtime has closed it already.
    }
  }

  #noteExpiry(identity: Identity): void {
    if (identity.kind === "user") this.#nextExpiry = Math.min(this.#nextExpiry, identity.expires);
  }

  /** Counts text sent to one socket, and closes the socket if its client is slow. */
  #sent(socket: WebSocket, amount: number): void {
    if (!this.#backpressure.sent(socket, amount)) return;
    if (this.#backpressure.checkOne(socket, Date.now()) === "slow") this.#drop(socket, "slow");
  }

  #drop(socket: WebSocket, verdict: Verdict): void {
    this.#metrics.dropped += 1;
    this.close(socket, CLOSE.tryAgain, verdict);
  }

  #unsubscribe(socket: WebSocket): void {
    const attachment = this.attachment(socket);
    const { state: _, ...kept } = attachment;
    this.#saveAttachment(socket, { ...kept, joined: false });
    this.#backpressure.setJoined(socket, false);
    this.#fanout.remove(socket);
    // If closing this socket woke the object, memory says nothing about the socket. Only the attachment says whether it
    // had joined.
    if (!attachment.joined) return;
    const { identity, socketId, state } = attachment;
    if (identity.kind !== "server") this.#onLeft(memberOf(identity, socketId, state));
  }

  /** Subscribes a joined socket to what its client may receive, and stores that in its attachment. */
  #subscribe(socket: WebSocket, attachment: Attachment): void {
    const { identity, batch, presence } = attachment;
    const settings = this.#settings();
    const isAllowed = (action: "receive" | "presence", fallback: boolean) =>
      settings === undefined && identity.kind !== "server"
        ? fallback
        : authorize(identity, action, settings ?? null).ok;
    const receives = isAllowed("receive", attachment.receives);
    if (receives !== attachment.receives) this.#saveAttachment(socket, { ...attachment, receives });
    this.#fanout.add(socket, { identity, batch, receives, presence: presence && isAllowed("presence", true) });
    this.#backpressure.setJoined(socket, receives);
  }

  #track(socket: WebSocket, meta: SocketMeta): void {
    this.#metas.set(socket, meta);
    this.#groups.set(meta.group, this.count(meta.group) + 1);
    this.#backpressure.add(socket);
  }

  #untrack(socket: WebSocket): void {
    this.#backpressure.remove(socket);
    const meta = this.#metas.get(socket);
    if (!meta) return;
    this.#metas.delete(socket);
    const left = this.count(meta.group) - 1;
    if (left > 0) this.#groups.set(meta.group, left);
    else this.#groups.delete(meta.group);
  }

  #saveAttachment(socket: WebSocket, attachment: Attachment): void {
    socket.serializeAttachment(attachment);
  }
}

function transmit(socket: WebSocket, text: string): void {
  try {
    socket.send(text);
  } catch {
    // The socket is closing. The runtime will report that, and the client resumes from its last message.
  }
}

/** Returns a client as others see it. Anonymous clients have `permissions {dbo_id: 0, row_id: 0}`. */
export function clientOf(identity: Identity, socketId: string): Client {
  if (identity.kind !== "user") return { socketId, permissions: { dbo_id: 0, row_id: 0 }, extras: {} };
  const { dbo_id, row_id, extras } = identity;
  return { socketId, permissions: { dbo_id, row_id }, extras };
}

/** Returns a member as others see it: the client, and the state that it has set. */
export function memberOf(identity: Identity, socketId: string, state: Record<string, unknown> | undefined): Client {
  const client = clientOf(identity, socketId);
  return state === undefined ? client : { ...client, state };
}

/** Returns the group of all sockets of a user. */
export function userGroup({ dbo_id, row_id }: { dbo_id: number; row_id: number | string }): string {
  return `user:${dbo_id}:${row_id}`;
}

const FOR_ALL = { database: null };

/** RFC 6455, section 7.4.1: a server must not send the codes that only report how a connection ended. */
function sendableCloseCode(code: number): number {
  return code === 1005 || code === 1006 || code === 1015 ? 1000 : code;
}
