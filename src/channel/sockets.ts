import { decide, type Identity, mayRead } from "../auth/policy.ts";
import { CLOSE } from "../protocol/close.ts";
import type { Client, Members } from "../protocol/frames.ts";
import type { ChannelSettings } from "../protocol/schemas.ts";
import { Backpressure, type Verdict } from "./backpressure.ts";
import type { Metrics } from "./metrics.ts";

/** What must survive hibernation about a socket; serialized it may have 16,384 bytes. */
export interface Attachment {
  socketId: string;
  identity: Identity;
  joined: boolean;
  /** Whether it wants to know who comes and goes. */
  presence: boolean;
}

/** What a broadcast must know of a socket, without deserializing its attachment each time. */
interface Subscriber {
  identity: Identity;
  presence: boolean;
  /** Whether the settings let it receive. */
  receives: boolean;
}

/**
 * The channel's sockets. The runtime keeps them, and each one's attachment, while the object hibernates; what is known
 * of those that joined is rebuilt from it.
 */
export class Sockets {
  readonly #ctx: DurableObjectState;
  readonly #settings: () => ChannelSettings | null;
  readonly #left: (client: Client) => void;
  readonly #metrics: Metrics;
  readonly #subscribers = new Map<WebSocket, Subscriber>();
  readonly #backpressure: Backpressure<WebSocket>;
  /** No token expires before, in milliseconds since the epoch. */
  #nextExpiry = Infinity;

  /** @param left Called for each client that joined and is no longer here, but for the server side's. */
  constructor(
    ctx: DurableObjectState,
    settings: () => ChannelSettings | null,
    left: (client: Client) => void,
    metrics: Metrics,
  ) {
    this.#ctx = ctx;
    this.#settings = settings;
    this.#left = left;
    this.#metrics = metrics;
    const heartbeatOf = (socket: WebSocket) => ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
    this.#backpressure = new Backpressure(heartbeatOf, Date.now());
    for (const socket of ctx.getWebSockets()) {
      this.#backpressure.add(socket);
      const attachment = this.attachment(socket);
      if (attachment.joined) this.#subscribe(socket, attachment);
      this.#noteExpiry(attachment.identity);
    }
  }

  /** How many have joined. */
  get subscribed(): number {
    return this.#subscribers.size;
  }

  /** When to look for tokens that have expired, in milliseconds since the epoch; Infinity where none will. */
  get nextExpiry(): number {
    return this.#nextExpiry;
  }

  /** How many sockets there are, of all or of those with a tag. */
  count(tag?: string): number {
    return this.#ctx.getWebSockets(tag).length;
  }

  /** @param group The tag that it shares with others that are counted together: a user's, or an address's. */
  accept(socket: WebSocket, identity: Identity, group: string, socketId: string): void {
    this.#ctx.acceptWebSocket(socket, [`kind:${identity.kind}`, `id:${socketId}`, group]);
    this.#attach(socket, { socketId, identity, joined: false, presence: false });
    this.#backpressure.add(socket);
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
    return this.#ctx.getWebSockets(`id:${socketId}`).find((socket) => this.#subscribers.has(socket));
  }

  /** Lets a socket join, or changes what it joined for. Answers whether it is new here. */
  join(socket: WebSocket, presence: boolean): boolean {
    const isNew = !this.#subscribers.has(socket);
    const attachment = { ...this.attachment(socket), joined: true, presence };
    this.#attach(socket, attachment);
    this.#subscribe(socket, attachment);
    this.#tend();
    return isNew;
  }

  leave(socket: WebSocket): void {
    const attachment = this.attachment(socket);
    this.#attach(socket, { ...attachment, joined: false });
    if (!this.#unsubscribe(socket)) return;
    if (attachment.identity.kind !== "server") this.#left(clientOf(attachment.identity, attachment.socketId));
  }

  /** Sends a message to every socket that joined and may read it. */
  broadcast(frame: string, message: { database: string | null }): void {
    const isForAll = message.database === null;
    for (const [socket, { receives, identity }] of this.#subscribers) {
      if (!receives || !mayRead(identity, message)) continue;
      this.#transmit(socket, frame);
      this.#metrics.deliveries += 1;
      if (!isForAll) this.#backpressure.sent(socket, frame.length);
    }
    // Counted once for all of them, instead of once for each.
    if (isForAll) this.#backpressure.broadcast(frame.length);
    this.#tend();
  }

  /** Tells everyone who wants to know, but for the one that it is about. */
  announce(frame: string, about?: WebSocket): void {
    for (const [socket, { presence }] of this.#subscribers) {
      if (presence && socket !== about) this.send(socket, frame);
    }
  }

  /** The clients that joined, as many as asked for, and how many there are. The server side's do not count. */
  members(limit: number): Members {
    const present = [...this.#subscribers].filter(([, { identity }]) => identity.kind !== "server");
    return {
      total: present.length,
      presence: present.slice(0, limit).map(([socket, { identity }]) => {
        return clientOf(identity, this.attachment(socket).socketId);
      }),
    };
  }

  /** Sends to one socket. */
  send(socket: WebSocket, frame: string): void {
    this.#transmit(socket, frame);
    this.#backpressure.sent(socket, frame.length);
    if (this.#backpressure.lookAt(socket, Date.now()) === "slow") this.#drop(socket, "slow");
  }

  /** Takes over changed settings for those that stay. */
  reconsider(): void {
    for (const socket of this.#subscribers.keys()) this.#subscribe(socket, this.attachment(socket));
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
    this.#backpressure.remove(socket);
    this.leave(socket);
    try {
      socket.close(sendableCloseCode(code), reason);
    } catch {
      // The runtime has closed it already.
    }
  }

  #noteExpiry(identity: Identity): void {
    if (identity.kind === "user") this.#nextExpiry = Math.min(this.#nextExpiry, identity.expires);
  }

  /** From time to time closes those that fell too far behind or are gone. */
  #tend(): void {
    const now = Date.now();
    if (!this.#backpressure.isDue(now)) return;
    for (const [socket, verdict] of this.#backpressure.look(now)) this.#drop(socket, verdict);
  }

  #drop(socket: WebSocket, verdict: Verdict): void {
    this.#metrics.dropped += 1;
    this.close(socket, CLOSE.tryAgain, verdict);
  }

  #transmit(socket: WebSocket, frame: string): void {
    try {
      socket.send(frame);
    } catch {
      // It is closing, of which the runtime tells in its turn; its client resumes from what it saw.
    }
  }

  #subscribe(socket: WebSocket, { identity, presence }: Attachment): void {
    const may = (action: "receive" | "presence") => decide(identity, action, this.#settings()).ok;
    const receives = may("receive");
    this.#subscribers.set(socket, { identity, presence: presence && may("presence"), receives });
    this.#backpressure.setJoined(socket, receives);
  }

  #unsubscribe(socket: WebSocket): boolean {
    this.#backpressure.setJoined(socket, false);
    return this.#subscribers.delete(socket);
  }

  #attach(socket: WebSocket, attachment: Attachment): void {
    socket.serializeAttachment(attachment);
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
