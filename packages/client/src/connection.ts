import ReconnectingWebSocket from "partysocket/ws";
import { CLOSE, isFinal } from "../../../src/protocol/close.ts";
import type { ServerFrame } from "./messages.ts";
import { watchNetwork } from "./network.ts";
import type { Server } from "./server.ts";
import { HeartbeatMonitor } from "./heartbeat-monitor.ts";
import { Pacer } from "./pacer.ts";

/** When the network returns, an attempt to connect that began less than this ago is not replaced. */
const FRESH_MS = 1_000;

/** A WebSocket constructor, for runtimes without a global one. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => object;

/** What a channel can do with its connection. */
export interface Link {
  /** Limits the frames that clients without an API key send. */
  readonly pacer: Pacer;
  /** Sends frames, several as one array. Returns whether they were sent. */
  send: (frames: readonly string[]) => boolean;
  close: () => void;
}

export interface ConnectionHandlers {
  /** Called when a new connection is open. It has not joined yet. */
  opened: () => void;
  /** Called with each frame, in order. */
  received: (frame: ServerFrame) => void;
  /** @param opened Whether the connection had been open. @param final Whether the client will not reconnect. */
  lost: (opened: boolean, final: boolean) => void;
  /** Called when the browser has lost its network and the connection is silent. The connection may still work. */
  silent: () => void;
  /** Called when a connection that was in doubt has proved to work. */
  works: () => void;
}

interface ConnectionDeps extends ConnectionHandlers {
  server: Server;
  /** The path and query of the socket. */
  path: string;
  WebSocket: WebSocketConstructor | undefined;
}

/** A socket. It reconnects until the client closes it, or until the server closes it with a final code. */
export class Connection implements Link {
  readonly pacer = new Pacer();
  readonly #deps: ConnectionDeps;
  readonly #heartbeat: HeartbeatMonitor;
  readonly #endNetworkWatch: () => void;
  readonly #endTokenUse: () => void;
  /** The token of the latest attempt to connect. */
  #token: string | undefined;
  #socket: ReconnectingWebSocket;
  #state: "opening" | "open" | "over" | "closed" = "opening";
  /** When the last attempt to connect began, in milliseconds of `performance.now()`. */
  #attemptedAt = 0;

  constructor(deps: ConnectionDeps) {
    this.#deps = deps;
    this.#heartbeat = new HeartbeatMonitor({
      send: (text) => this.#socket.send(text),
      silent: deps.silent,
      works: deps.works,
      dead: () => this.#reconnect(),
    });
    this.#endTokenUse = deps.server.credential.use();
    this.#socket = this.#connect();
    this.#endNetworkWatch = watchNetwork({
      lost: () => this.#state === "open" && this.#heartbeat.networkLost(),
      changed: () => this.#networkChanged(),
    });
  }

  /** Sends frames, several as one array. Returns whether they were sent. A connection that is in doubt sends nothing. */
  send(frames: readonly string[]): boolean {
    const [first = "", ...others] = frames;
    return !this.#heartbeat.isInDoubt && this.#socket.send(others.length === 0 ? first : `[${frames.join(",")}]`);
  }

  /** Reconnects with a new token, if the client can get one. Returns whether it can. */
  renew(): boolean {
    const { credential } = this.#deps.server;
    if (!credential.isRenewable) return false;
    credential.refused(this.#token);
    this.#reconnect();
    return true;
  }

  close(): void {
    this.#end();
    this.#socket.close();
  }

  #connect(): ReconnectingWebSocket {
    const { server, path, WebSocket } = this.#deps;
    this.#attempt();
    const socket: ReconnectingWebSocket = new ReconnectingWebSocket(
      server.socketUrl(path),
      async () => (socket === this.#socket ? this.#begin() : []),
      {
        minReconnectionDelay: 250 + Math.random() * 500,
        maxReconnectionDelay: 20_000,
        reconnectionDelayGrowFactor: 1.6,
        connectionTimeout: 10_000,
        maxEnqueuedMessages: 0,
        shouldReconnectOnClose: ({ code }) => !this.#isFinal(code),
        ...(WebSocket && { WebSocket }),
      },
    );
    // The events of a socket that was replaced are ignored.
    const current =
      <E>(act: (event: E) => void) =>
      (event: E) =>
        socket === this.#socket && act(event);
    socket.addEventListener(
      "open",
      current(() => this.#open()),
    );
    socket.addEventListener(
      "message",
      current(({ data }: { data: unknown }) => this.#receive(String(data))),
    );
    socket.addEventListener(
      "close",
      current(({ code }: { code: number }) => this.#closed(code)),
    );
    // An error usually follows a close. A missing token, or one that cannot be a subprotocol, causes an error alone.
    socket.addEventListener(
      "error",
      current(() => this.#lost(false)),
    );
    return socket;
  }

  /** Replaces the socket, because a ReconnectingWebSocket that waits for its next attempt cannot be woken. */
  #reconnect(): void {
    if (this.#state === "open") this.#lost(false);
    // A handler may have closed the channel.
    if (this.#state === "closed") return;
    const replaced = this.#socket;
    this.#socket = this.#connect();
    replaced.close();
  }

  #networkChanged(): void {
    if (this.#state === "open") return this.#heartbeat.networkChanged();
    const isFresh = this.#state === "opening" && performance.now() - this.#attemptedAt < FRESH_MS;
    if (!isFresh) this.#reconnect();
  }

  /** ReconnectingWebSocket calls this at the start of each attempt, to get the subprotocols and so the token. */
  async #begin(): Promise<string[]> {
    this.#attempt();
    const protocols = await this.#deps.server.protocols();
    this.#token = protocols[1];
    return protocols;
  }

  #attempt(): void {
    this.#state = "opening";
    this.#attemptedAt = performance.now();
  }

  #open(): void {
    this.#state = "open";
    this.pacer.reset();
    this.#heartbeat.start();
    this.#deps.opened();
  }

  #receive(text: string): void {
    if (this.#heartbeat.received(text)) return;
    const frames = JSON.parse(text) as ServerFrame | ServerFrame[];
    for (const frame of Array.isArray(frames) ? frames : [frames]) this.#deps.received(frame);
  }

  #closed(code: number): void {
    const { credential } = this.#deps.server;
    const isExpired = code === CLOSE.expired && credential.isRenewable;
    if (isExpired) credential.refused(this.#token);
    this.#lost(this.#isFinal(code));
    // The new token is there already, so there is nothing to wait for.
    if (isExpired && credential.isReplaced(this.#token) && this.#state === "over") this.#reconnect();
  }

  #lost(final: boolean): void {
    if (this.#state === "over" || this.#state === "closed") return;
    const opened = this.#state === "open";
    this.#state = "over";
    this.#heartbeat.stop();
    if (final) this.#end();
    this.#deps.lost(opened, final);
  }

  #end(): void {
    this.#state = "closed";
    this.#heartbeat.stop();
    this.#endNetworkWatch();
    this.#endTokenUse();
  }

  /** An expired token is final, unless the client can get a new one. */
  #isFinal(code: number): boolean {
    return isFinal(code) && !(code === CLOSE.expired && this.#deps.server.credential.isRenewable);
  }
}
