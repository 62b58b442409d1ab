import type { Identity } from "../auth/policy.ts";
import type { Client } from "../protocol/frames.ts";
import { Backpressure } from "./backpressure.ts";

/** Closes a client that is to come back and resume: it reads too slowly, or its heartbeat stopped. */
const CLOSE_TRY_AGAIN = 1013;

/** What must survive hibernation about a socket, at most 16,384 bytes serialized. */
export interface Attachment {
  client: Client;
  identity: Identity;
  joined: boolean;
}

/**
 * The channel's sockets. The runtime keeps them, and each one's attachment, while the object hibernates; the set of
 * those that joined is rebuilt from it, so that a broadcast need not deserialize any attachment.
 */
export class Sockets {
  readonly #ctx: DurableObjectState;
  readonly #joined = new Set<WebSocket>();
  readonly #backpressure: Backpressure<WebSocket>;

  constructor(ctx: DurableObjectState) {
    this.#ctx = ctx;
    const heartbeatOf = (socket: WebSocket) => ctx.getWebSocketAutoResponseTimestamp(socket)?.getTime() ?? 0;
    this.#backpressure = new Backpressure(heartbeatOf, Date.now());
    for (const socket of ctx.getWebSockets()) {
      this.#backpressure.add(socket);
      if (this.attachment(socket).joined) this.#setJoined(socket, true);
    }
  }

  get count(): number {
    return this.#ctx.getWebSockets().length;
  }

  accept(socket: WebSocket, identity: Identity): void {
    const client: Client = { socketId: crypto.randomUUID(), permissions: { dbo_id: 0, row_id: 0 }, extras: {} };
    this.#ctx.acceptWebSocket(socket, [identity.kind]);
    this.#attach(socket, { client, identity, joined: false });
    this.#backpressure.add(socket);
  }

  /** The sockets of one kind of identity, which is their tag: found without waking any attachment. */
  ofKind(kind: Identity["kind"]): WebSocket[] {
    return this.#ctx.getWebSockets(kind);
  }

  attachment(socket: WebSocket): Attachment {
    return socket.deserializeAttachment() as Attachment;
  }

  join(socket: WebSocket): void {
    this.#attach(socket, { ...this.attachment(socket), joined: true });
    this.#setJoined(socket, true);
    this.#tend();
  }

  leave(socket: WebSocket): void {
    this.#attach(socket, { ...this.attachment(socket), joined: false });
    this.#setJoined(socket, false);
  }

  /** Sends to every socket that joined. */
  broadcast(frame: string): void {
    for (const socket of this.#joined) this.#transmit(socket, frame);
    this.#backpressure.broadcast(frame.length);
    this.#tend();
  }

  /** Sends to one socket. */
  send(socket: WebSocket, frame: string): void {
    this.#transmit(socket, frame);
    this.#backpressure.sent(socket, frame.length);
    if (this.#backpressure.lookAt(socket, Date.now()) === "slow") this.close(socket, CLOSE_TRY_AGAIN, "slow");
  }

  /** Forgets a socket and closes it; where the client has closed it already, that completes the handshake. */
  close(socket: WebSocket, code: number, reason: string): void {
    this.leave(socket);
    this.#backpressure.remove(socket);
    try {
      socket.close(sendableCloseCode(code), reason);
    } catch {
      // The runtime has closed it already.
    }
  }

  /** From time to time closes those that fell too far behind or are gone. */
  #tend(): void {
    const now = Date.now();
    if (!this.#backpressure.isDue(now)) return;
    for (const [socket, verdict] of this.#backpressure.look(now)) this.close(socket, CLOSE_TRY_AGAIN, verdict);
  }

  /** One that is closing or gone is no error: its client resumes from what it saw. */
  #transmit(socket: WebSocket, frame: string): void {
    try {
      socket.send(frame);
    } catch {
      this.#setJoined(socket, false);
    }
  }

  #setJoined(socket: WebSocket, joined: boolean): void {
    if (joined) this.#joined.add(socket);
    else this.#joined.delete(socket);
    this.#backpressure.setJoined(socket, joined);
  }

  #attach(socket: WebSocket, attachment: Attachment): void {
    socket.serializeAttachment(attachment);
  }
}

/** Codes that only report how a connection ended may not be sent (RFC 6455, section 7.4.1). */
function sendableCloseCode(code: number): number {
  return code === 1005 || code === 1006 || code === 1015 ? 1000 : code;
}
