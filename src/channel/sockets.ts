import type { Identity } from "../auth/policy.ts";
import type { Client } from "../protocol/frames.ts";

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

  constructor(ctx: DurableObjectState) {
    this.#ctx = ctx;
    for (const socket of ctx.getWebSockets()) if (this.attachment(socket).joined) this.#joined.add(socket);
  }

  get count(): number {
    return this.#ctx.getWebSockets().length;
  }

  accept(socket: WebSocket, identity: Identity): void {
    const client: Client = { socketId: crypto.randomUUID(), permissions: { dbo_id: 0, row_id: 0 }, extras: {} };
    this.#ctx.acceptWebSocket(socket, [identity.kind]);
    this.#attach(socket, { client, identity, joined: false });
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
    this.#joined.add(socket);
  }

  leave(socket: WebSocket): void {
    this.#attach(socket, { ...this.attachment(socket), joined: false });
    this.#joined.delete(socket);
  }

  /** Sends to every socket that joined. */
  broadcast(frame: string): void {
    for (const socket of this.#joined) this.send(socket, frame);
  }

  /** Sends to one socket. One that is closing or gone is no error: its client resumes from what it saw. */
  send(socket: WebSocket, frame: string): void {
    try {
      socket.send(frame);
    } catch {
      this.#joined.delete(socket);
    }
  }

  /** Forgets a socket and closes it; where the client has closed it already, that completes the handshake. */
  close(socket: WebSocket, code: number, reason: string): void {
    this.#joined.delete(socket);
    try {
      socket.close(sendableCloseCode(code), reason);
    } catch {
      // The runtime has closed it already.
    }
  }

  #attach(socket: WebSocket, attachment: Attachment): void {
    socket.serializeAttachment(attachment);
  }
}

/** Codes that only report how a connection ended may not be sent (RFC 6455, section 7.4.1). */
function sendableCloseCode(code: number): number {
  return code === 1005 || code === 1006 || code === 1015 ? 1000 : code;
}
