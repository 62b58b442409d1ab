import { decide, type Identity } from "../auth/policy.ts";
import { CLOSE } from "../protocol/close.ts";
import type { Client, Members } from "../protocol/frames.ts";
import type { ChannelSettings } from "../protocol/schemas.ts";
import { Backpressure, HEARTBEAT_TIMEOUT, type Verdict } from "./backpressure.ts";
import { batchesOf, Fanout } from "./fanout.ts";
import type { Metrics } from "./metrics.ts";

/** The group of all sockets of API-key clients. */
export const SERVER_GROUP = "server";

/** What must survive hibernation about a socket; serialized it may have 16,384 bytes. */
export interface Attachment {
  socketId: string;
  identity: Identity;
  /** Whether frames come to it in arrays. */
  batch: boolean;
  joined: boolean;
  /** Whether it wants to know who comes and goes. */
  presence: boolean;
  /** Whether it may receive messages, by the settings that held last. It counts while the settings are not known. */
  receives: boolean;
}

/** What is looked up of a socket so often that its attachment is not deserialized for it. */
type Held = Pick<Attachment, "batch"> & { group: string };

/**
 * The channel's sockets. The runtime keeps them, and each one's attachment, while the object hibernates; what is known
 * of them in memory is rebuilt from it.
 */
export class Sockets {
  readonly #ctx: DurableObjectState;
  readonly #settings: () => ChannelSettings | null | undefined;
  readonly #left: (client: Client) => void;
  readonly #metrics: Metrics;
  readonly #held = new Map<WebSocket, Held>();
  /** How many sockets are held of each group. */
  readonly #groups = new Map<string, number>();
  /** Those that joined. */
  readonly #fanout = new Fanout((socket, text) => transmit(socket, text));
  readonly #backpressure: Backpressure<WebSocket>;
  /** No token expires before, in milliseconds since the epoch. */
  #nextExpiry = Infinity;
  /** No client turns out to be gone before, in milliseconds since the epoch. */
  #nextGone = Infinity;

  /**
   * @param settings Returns the settings that hold, null if none do, undefined if that is not known.
   * @param left Called for each client that joined and is no longer here, but for the server side's.
   */
  constructor(
    ctx: DurableObjectState,
    settings: () => ChannelSettings | null | undefined,
    left: (client: Client) => void,
    metrics: Metrics,
  ) {
    this.#ctx = ctx;
    this.#settings = settings;
    this.#left = left;
    this.#metrics = metrics;
    const heartbeatOf = (socket: WebSocket) => ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
    this.#backpressure = new Backpressure(heartbeatOf);
    for (const socket of ctx.getWebSockets()) {
      const attachment = this.attachment(socket);
      this.#hold(socket, { batch: attachment.batch, group: ctx.getTags(socket).at(-1) ?? "" });
      if (attachment.joined) this.#subscribe(socket, attachment);
      this.#noteExpiry(attachment.identity);
    }
    this.#nextGone = this.#backpressure.nextGone();
  }

  /** How many have joined. */
  get subscribed(): number {
    return this.#fanout.size;
  }

  /** When to look for tokens that have expired, in milliseconds since the epoch; Infinity where none will. */
  get nextExpiry(): number {
    return this.#nextExpiry;
  }

  /**
   * When to look for clients that are gone although nothing happens, in milliseconds since the epoch; Infinity while nobody
   * would notice: only a client that asked for presence is told, and only of others.
   */
  get nextGone(): number {
    if (this.#nextGone === Infinity || this.#fanout.size < 2) return Infinity;
    return this.#fanout.isWatched ? this.#nextGone : Infinity;
  }

  /** How many sockets there are, of all or of a group. */
  count(group?: string): number {
    return group === undefined ? this.#held.size : (this.#groups.get(group) ?? 0);
  }

  /** @param group The tag that it shares with others that are counted together: a user's, or an address's. */
  accept(socket: WebSocket, group: string, opened: Pick<Attachment, "socketId" | "identity" | "batch">): void {
    const { identity, socketId, batch } = opened;
    // The group comes last: it is found there when the object wakes.
    this.#ctx.acceptWebSocket(socket, [`kind:${identity.kind}`, `id:${socketId}`, group]);
    this.#attach(socket, { ...opened, joined: false, presence: false, receives: false });
    this.#hold(socket, { batch, group });
    this.#noteExpiry(identity);
  }

  attachment(socket: WebSocket): Attachment {
    return socket.deserializeAttachment() as Attachment;
  }

  /** The sockets of clients, without the server side's. */
  clients(): WebSocket[] {
    return [...this.#ctx.getWebSockets("kind:user"), ...this.#ctx.getWebSockets("kind:anonymous")];
  }

  /** The socket of a client that joined, by its id. */
  find(socketId: string): WebSocket | undefined {
    return this.#ctx.getWebSockets(`id:${socketId}`).find((socket) => this.#fanout.has(socket));
  }

  /** Whether a socket is open, as far as this object is concerned. */
  holds(socket: WebSocket): boolean {
    return this.#held.has(socket);
  }

  /** The group that a socket is counted in; undefined for a socket that was closed, whose frames count for nothing. */
  groupOf(socket: WebSocket): string | undefined {
    return this.#held.get(socket)?.group;
  }

  /** Whether a socket has joined. */
  hasJoined(socket: WebSocket): boolean {
    return this.#fanout.has(socket);
  }

  /** Lets a socket join, or changes what it joined for: from now on it gets what is broadcast. */
  join(socket: WebSocket, presence: boolean): void {
    // First, so that the socket is not told of clients that left before it joined.
    this.dropStale();
    const attachment = { ...this.attachment(socket), joined: true, presence };
    this.#attach(socket, attachment);
    this.#subscribe(socket, attachment);
    // Its heartbeats have yet to begin, so no look at them can say when to look at it.
    this.#nextGone = Math.min(this.#nextGone, Date.now() + HEARTBEAT_TIMEOUT);
  }

  /** Ends the delivery to a socket, behind all that was broadcast before. */
  leave(socket: WebSocket): void {
    this.#fanout.settle(socket);
    this.#depart(socket);
  }

  /** Sends a message to every socket that joined and may read it. */
  broadcast(frame: string, message: { database: string | null }): void {
    this.#metrics.deliveries += this.#fanout.message(frame, message);
    // What is for all is counted once for all of them, instead of once for each.
    if (message.database === null) this.#backpressure.broadcast(frame.length);
    else for (const socket of this.#fanout.readers(message)) this.#sent(socket, frame.length);
    this.dropStale();
  }

  /** Sends a sender that has joined its own message, unless `broadcast` did. */
  echo(sender: WebSocket, message: { database: string | null }, frameOf: () => string): void {
    if (!this.#fanout.has(sender) || this.#fanout.reaches(sender, message)) return;
    this.#metrics.deliveries += 1;
    this.send(sender, frameOf());
  }

  /** Whether anybody wants to know who comes and goes. */
  get isWatched(): boolean {
    return this.#fanout.isWatched;
  }

  /** Tells everyone who wants to know that somebody came or went, but for those that are left out. */
  announce(frame: string, except: ReadonlyMap<WebSocket, unknown>): void {
    this.#fanout.presence(frame, except);
    for (const socket of this.#fanout.watchers()) if (!except.has(socket)) this.#sent(socket, frame.length);
  }

  /** Tells one of them, if it still wants to know. */
  tell(watcher: WebSocket, frame: string): void {
    if (this.#fanout.watches(watcher)) this.send(watcher, frame);
  }

  /** The clients that joined, as many as asked for, and how many there are. The server side's do not count. */
  members(limit: number): Members {
    this.dropStale();
    const present = this.#fanout.sockets(({ identity }) => identity.kind !== "server");
    return {
      total: present.length,
      presence: present.slice(0, limit).map((socket) => {
        const { identity, socketId } = this.attachment(socket);
        return clientOf(identity, socketId);
      }),
    };
  }

  /** Sends frames to one socket, behind all that it was sent before. */
  send(socket: WebSocket, ...frames: string[]): void {
    this.#fanout.settle(socket);
    const isBatch = this.#held.get(socket)?.batch === true;
    for (const text of isBatch ? batchesOf(frames) : frames) transmit(socket, text);
    this.#sent(
      socket,
      frames.reduce((sum, { length }) => sum + length, 0),
    );
  }

  /** Takes over changed settings for those that stay. */
  reconsider(): void {
    for (const socket of this.#fanout.sockets(() => true)) this.#subscribe(socket, this.attachment(socket));
  }

  /** Closes the clients that fell too far behind or are gone, if it is time to look for them. */
  dropStale(): void {
    const now = Date.now();
    if (now < this.#nextGone && !this.#backpressure.isDue(now)) return;
    for (const [socket, verdict] of this.#backpressure.look(now)) this.#drop(socket, verdict);
    this.#nextGone = this.#backpressure.nextGone();
  }

  /** The sockets whose tokens have expired. */
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

  /** Forgets a socket and closes it; where the client has closed it already, that completes the handshake. */
  close(socket: WebSocket, code: number, reason: string): void {
    this.#release(socket);
    this.#depart(socket);
    try {
      socket.close(sendableCloseCode(code), reason);
    } catch {
      // The runtime has closed it already.
    }
  }

  #noteExpiry(identity: Identity): void {
    if (identity.kind === "user") this.#nextExpiry = Math.min(this.#nextExpiry, identity.expires);
  }

  /** Counts what was sent to one socket, and closes it where that is more than it reads. */
  #sent(socket: WebSocket, amount: number): void {
    if (!this.#backpressure.sent(socket, amount)) return;
    if (this.#backpressure.lookAt(socket, Date.now()) === "slow") this.#drop(socket, "slow");
  }

  #drop(socket: WebSocket, verdict: Verdict): void {
    this.#metrics.dropped += 1;
    this.close(socket, CLOSE.tryAgain, verdict);
  }

  #depart(socket: WebSocket): void {
    const attachment = this.attachment(socket);
    this.#attach(socket, { ...attachment, joined: false });
    this.#backpressure.setJoined(socket, false);
    this.#fanout.remove(socket);
    // The object does not hold a socket whose closing woke it, so only the attachment says whether it had joined.
    if (!attachment.joined) return;
    if (attachment.identity.kind !== "server") this.#left(clientOf(attachment.identity, attachment.socketId));
  }

  /** Lets a socket that joined receive what it may, and keeps that in its attachment. */
  #subscribe(socket: WebSocket, attachment: Attachment): void {
    const { identity, batch, presence } = attachment;
    const settings = this.#settings();
    const may = (action: "receive" | "presence", otherwise: boolean) =>
      settings === undefined && identity.kind !== "server" ? otherwise : decide(identity, action, settings ?? null).ok;
    const receives = may("receive", attachment.receives);
    if (receives !== attachment.receives) this.#attach(socket, { ...attachment, receives });
    this.#fanout.add(socket, { identity, batch, receives, presence: presence && may("presence", true) });
    this.#backpressure.setJoined(socket, receives);
  }

  #hold(socket: WebSocket, held: Held): void {
    this.#held.set(socket, held);
    this.#groups.set(held.group, this.count(held.group) + 1);
    this.#backpressure.add(socket);
  }

  #release(socket: WebSocket): void {
    this.#backpressure.remove(socket);
    const held = this.#held.get(socket);
    if (!held) return;
    this.#held.delete(socket);
    const left = this.count(held.group) - 1;
    if (left > 0) this.#groups.set(held.group, left);
    else this.#groups.delete(held.group);
  }

  #attach(socket: WebSocket, attachment: Attachment): void {
    socket.serializeAttachment(attachment);
  }
}

function transmit(socket: WebSocket, text: string): void {
  try {
    socket.send(text);
  } catch {
    // It is closing, of which the runtime tells in its turn; its client resumes from what it saw.
  }
}

/** How a client is known to others. Anonymous ones have `permissions {dbo_id: 0, row_id: 0}`. */
export function clientOf(identity: Identity, socketId: string): Client {
  if (identity.kind !== "user") return { socketId, permissions: { dbo_id: 0, row_id: 0 }, extras: {} };
  const { dbo_id, row_id, extras } = identity;
  return { socketId, permissions: { dbo_id, row_id }, extras };
}

/** Codes that only report how a connection ended may not be sent (RFC 6455, section 7.4.1). */
function sendableCloseCode(code: number): number {
  return code === 1005 || code === 1006 || code === 1015 ? 1000 : code;
}
