import { Channel } from "./channel.ts";
import type { ChannelOptions } from "./options.ts";
import { Connection, type ConnectionHandlers, type WebSocketConstructor } from "./connection.ts";
import type { Token } from "./credential.ts";
import { Multiplexer } from "./multiplexer.ts";
import type { OutboxStorage } from "./outbox.ts";
import { Server } from "./server.ts";

export type { ErrorCode } from "../../../src/protocol/errors.ts";
export type { Channel } from "./channel.ts";
export type { ChannelEvents, MessageKind, Status } from "./events.ts";
export type { ChannelOptions, PublishOptions, SendOptions } from "./options.ts";
export { ChannelError, type ClientErrorCode } from "./errors.ts";
export type { KeptMessage, OutboxStorage } from "./outbox.ts";
export type { HistoryOptions } from "./history.ts";
export type { Member, Presence } from "./members.ts";
export type { EphemeralMessage, Message, Position, PrivateMessage, ServerFrame, UserRef } from "./messages.ts";
export type { Resumed } from "./message-sequencer.ts";
export { MAX_QUEUED_MESSAGES, MAX_QUEUED_CHARACTERS } from "./queue.ts";
export type { StandardSchemaV1 } from "@standard-schema/spec";
export type { Token } from "./credential.ts";

export interface ClientOptions {
  /** The server's URL. By default the origin of the page. */
  url?: string;
  /**
   * A user's token or an API key, or a function that returns one. The client calls the function when it needs its first token,
   * about 30 seconds before a JWT expires, and when the server has refused the token.
   */
  token?: Token;
  /** For runtimes without a global WebSocket, such as Node before version 22. */
  WebSocket?: WebSocketConstructor;
  /** Let up to 100 channels share a connection. By default each channel has its own, which leads directly to its channel object. */
  multiplex?: boolean;
  /** Keeps messages that wait to be sent, so that they survive a reload of the page: `indexedDbOutbox()`. By default they are in memory. */
  outbox?: OutboxStorage;
}

export interface ChannelsClient {
  /**
   * Joins a channel. If the connection is lost, the channel reconnects, until you close it.
   *
   * @throws Error if the runtime has no WebSocket and none was passed to `createClient`
   */
  channel: <In = unknown, Out = In>(name: string, options?: ChannelOptions<In, Out>) => Channel<In, Out>;
}

/** Returns a client of one server. It connects only when you join a channel. */
export function createClient(options: ClientOptions = {}): ChannelsClient {
  const { url = pageOrigin(), token, WebSocket, multiplex, outbox } = options;
  const server = new Server(url, token);
  const connect = (path: string) => (handlers: ConnectionHandlers) =>
    new Connection({ server, path: `${path}?frames=batch`, WebSocket, ...handlers });
  const multiplexer = multiplex === true ? new Multiplexer(connect("/socket")) : undefined;
  return {
    channel: (name, channelOptions = {}) => {
      if (!WebSocket && typeof globalThis.WebSocket === "undefined") throw new Error(NO_WEBSOCKET);
      const own = connect(`/channels/${encodeURIComponent(name)}/socket`);
      const shared = multiplexer && ((handlers: ConnectionHandlers) => multiplexer.link(name, handlers));
      return new Channel(server, name, channelOptions, shared ?? own, outbox);
    },
  };
}

/** @throws TypeError where there is no page */
function pageOrigin(): string {
  if (typeof location === "undefined") throw new TypeError(NO_URL);
  return location.origin;
}

const NO_URL =
  'This runtime has no page whose server to use. Pass the server\'s URL: createClient({ url }), for example "https://channels.example.com".';
const NO_WEBSOCKET =
  "This runtime has no WebSocket. Node has one from version 22 on. For an older Node, run `npm install ws`, import { WebSocket } from " +
  '"ws", and pass it: createClient({ WebSocket }).';
