import ReconnectingWebSocket from "partysocket/ws";
import { CLOSE, isFinal } from "../protocol/close.ts";
import type { ServerFrame } from "./messages.ts";
import type { Server } from "./server.ts";
import { Watch } from "./watch.ts";

/** A WebSocket constructor, for where there is no global one. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => object;

interface Needs {
  server: Server;
  channel: string;
  WebSocket: WebSocketConstructor | undefined;
  /** There is a new connection; it has not joined yet. */
  opened: () => void;
  /** Called with each frame, in order. */
  received: (frame: ServerFrame) => void;
  /** @param opened Whether the connection had been open. @param final Whether none will follow. */
  lost: (opened: boolean, final: boolean) => void;
}

/** A channel's socket, which comes back by itself until it is closed, here or for good by the server. */
export class Connection {
  readonly #needs: Needs;
  readonly #socket: ReconnectingWebSocket;
  readonly #watch: Watch;
  #state: "opening" | "open" | "over" = "opening";

  constructor(needs: Needs) {
    this.#needs = needs;
    const { server, channel, WebSocket } = needs;
    this.#socket = new ReconnectingWebSocket(server.socketUrl(channel), () => this.#begin(), {
      minReconnectionDelay: 250 + Math.random() * 500,
      maxReconnectionDelay: 20_000,
      reconnectionDelayGrowFactor: 1.6,
      connectionTimeout: 10_000,
      maxEnqueuedMessages: 0,
      shouldReconnectOnClose: ({ code }) => !this.#isFinal(code),
      ...(WebSocket && { WebSocket }),
    });
    this.#watch = new Watch({ send: (text) => this.send(text), reconnect: () => this.reconnect() });
    this.#socket.addEventListener("open", () => this.#open());
    this.#socket.addEventListener("message", ({ data }: { data: unknown }) => this.#receive(String(data)));
    this.#socket.addEventListener("close", ({ code }) => this.#lost(this.#isFinal(code)));
    // Mostly it follows a close; a token that cannot be had, or cannot be offered, makes an error alone.
    this.#socket.addEventListener("error", () => this.#lost(false));
  }

  /** Answers whether there was a connection to send it over. */
  send(text: string): boolean {
    return this.#socket.send(text);
  }

  reconnect(): void {
    this.#socket.reconnect();
  }

  close(): void {
    this.#watch.stop();
    this.#socket.close();
  }

  /** Each attempt begins with the question for the subprotocols, and so for the token. */
  #begin(): Promise<string[]> {
    this.#state = "opening";
    return this.#needs.server.protocols();
  }

  #open(): void {
    this.#state = "open";
    this.#watch.start();
    this.#needs.opened();
  }

  #receive(text: string): void {
    if (this.#watch.heard(text)) return;
    const frames = JSON.parse(text) as ServerFrame | ServerFrame[];
    for (const frame of Array.isArray(frames) ? frames : [frames]) this.#needs.received(frame);
  }

  #lost(final: boolean): void {
    if (this.#state === "over") return;
    const opened = this.#state === "open";
    this.#state = "over";
    this.#watch.stop();
    this.#needs.lost(opened, final);
  }

  /** An expired token is final, unless another one can be asked for. */
  #isFinal(code: number): boolean {
    return isFinal(code) && !(code === CLOSE.expired && this.#needs.server.renewsToken);
  }
}
