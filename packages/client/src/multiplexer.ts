import type { Connection, ConnectionHandlers, Link } from "./connection.ts";
import type { ServerFrame } from "./messages.ts";

/** How many channels share a connection (LIM10). */
const MAX_CHANNELS = 100;

type Connect = (handlers: ConnectionHandlers) => Connection;

/** Lets the channels of a client share connections. */
export class Multiplexer {
  readonly #connect: Connect;
  readonly #shared = new Set<SharedConnection>();

  constructor(connect: Connect) {
    this.#connect = connect;
  }

  /** Returns a channel's part of a connection. A channel that is opened twice is on two connections. */
  link(channel: string, handlers: ConnectionHandlers): Link {
    let shared = [...this.#shared].find((one) => one.hasRoomFor(channel));
    if (!shared) {
      const added: SharedConnection = new SharedConnection(this.#connect, () => this.#shared.delete(added));
      this.#shared.add(added);
      shared = added;
    }
    return shared.add(channel, handlers);
  }
}

/** A connection that several channels use. */
class SharedConnection {
  readonly #connection: Connection;
  readonly #links = new Map<string, ConnectionHandlers>();
  readonly #ended: () => void;
  #isOpen = false;

  /** @param ended Called when no channel uses the connection any more. */
  constructor(connect: Connect, ended: () => void) {
    this.#ended = ended;
    this.#connection = connect({
      opened: () => this.#opened(),
      received: (frame) => this.#received(frame),
      lost: (opened, final) => this.#lost(opened, final),
      silent: () => this.#each(({ silent }) => silent()),
      works: () => this.#each(({ works }) => works()),
    });
  }

  hasRoomFor(channel: string): boolean {
    return this.#links.size < MAX_CHANNELS && !this.#links.has(channel);
  }

  add(channel: string, handlers: ConnectionHandlers): Link {
    this.#links.set(channel, handlers);
    // The caller does not have the link yet.
    if (this.#isOpen) queueMicrotask(() => this.#isOpen && this.#has(channel, handlers) && handlers.opened());
    return {
      pacer: this.#connection.pacer,
      send: (frames) => this.#connection.send(frames),
      close: () => this.#leave(channel, handlers),
    };
  }

  #has(channel: string, handlers: ConnectionHandlers): boolean {
    return this.#links.get(channel) === handlers;
  }

  #leave(channel: string, handlers: ConnectionHandlers): void {
    if (!this.#has(channel, handlers)) return;
    this.#links.delete(channel);
    if (this.#links.size === 0) {
      this.#connection.close();
      this.#ended();
    } else if (this.#isOpen) {
      this.#connection.send([JSON.stringify({ action: "leave", options: { channel } })]);
    }
  }

  #opened(): void {
    this.#isOpen = true;
    this.#each(({ opened }) => opened());
  }

  #received(frame: ServerFrame): void {
    const { channel } = frame.options;
    if (channel === undefined) return this.#each(({ received }) => received(frame));
    const link = this.#links.get(channel);
    link?.received(frame);
    // The client has left the channel (MUX3). Its other frames all have ids.
    if (!link || frame.action !== "error" || frame.options.id !== undefined || !this.#has(channel, link)) return;
    const { code } = frame.payload;
    if (code === "unauthorized" && this.#connection.renew()) return;
    if (code === "unauthorized" || code === "forbidden") {
      link.lost(true, true);
      this.#leave(channel, link);
    }
  }

  #lost(opened: boolean, final: boolean): void {
    this.#isOpen = false;
    if (final) this.#ended();
    this.#each(({ lost }) => lost(opened, final));
  }

  /** A handler may remove a channel. */
  #each(call: (handlers: ConnectionHandlers) => void): void {
    for (const [channel, handlers] of this.#links) if (this.#has(channel, handlers)) call(handlers);
  }
}
