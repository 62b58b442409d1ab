import { join } from "node:path";
import type { WorkerdConfig } from "./servers/workerd.ts";

/** How a subscriber connects: the handshake's path and headers, then the texts to send and the answers to wait for. */
export interface Subscription {
  path: string;
  headers?: Record<string, string>;
  hello: { send?: string; until?: string }[];
  /** The text to send after each mebibyte received, if the server needs to know how much its clients have read. */
  heartbeat?: string;
}

/** The HTTP request of a publish. */
export interface Post {
  path: string;
  headers: Record<string, string>;
  body: string;
}

/** How to use a server. The runner and the load generator, which are two processes, share it. */
export interface Dialect {
  /** @param client A different number for each subscriber. */
  subscribe: (channel: string, client: number) => Subscription;
  /** Reconnects and resumes after a position. Undefined if the server cannot resume. */
  resume?: (channel: string, client: number, after: number) => Subscription;
  publish: (channel: string, messages: string[]) => Post;
  /** Whether a POST may hold several messages. */
  batches: boolean;
  /** How to publish over a socket. Undefined if the server does not store such messages. */
  socketPublish?: { open: (channel: string) => Subscription; text: (message: string) => string };
  /** How to publish over a socket that acknowledges each message. Undefined if the server has none. */
  ackPublish?: {
    open: () => Subscription;
    frame: (channel: string, id: string, message: string) => string;
    /** The text that each acknowledgement contains once. */
    ack: string;
  };
}

export interface Peer {
  name: string;
  dialect: keyof typeof DIALECTS;
  /** What a reader of the figures should know. */
  note: string;
  /** Whether a message is durable before the server answers the publish. */
  durable: boolean;
  command: (port: number) => string[];
}

export const API_KEY = "the-key-of-the-bench";
/** From the Debian package. */
export const NCHAN_MODULE = "/usr/lib/nginx/modules/ngx_nchan_module.so";
/** The channel of all workloads with one channel. */
export const CHANNEL = "bench";
const here = (path: string) => join(import.meta.dirname, path);
export const built = (name: string) => here(`dist/${name}.js`);

const JSON_TYPE = { "Content-Type": "application/json" };

function ours(query: string): Dialect {
  const connect = (channel: string, client: number, options: object) => ({
    path: `/channels/${channel}/socket${query}`,
    // Each client has its own address, as in practice. A thousand clients of one address would reach the limit for anonymous clients.
    headers: { "CF-Connecting-IP": `10.${client >> 16}.${(client >> 8) & 255}.${client & 255}` },
    hello: [{ send: JSON.stringify({ action: "join", options }), until: '"action":"join"' }],
    heartbeat: "ping",
  });
  return {
    subscribe: (channel, client) => connect(channel, client, {}),
    resume: (channel, client, after) => connect(channel, client, { after }),
    publish: (channel, messages) => ({
      path: messages.length === 1 ? "/message" : "/messages",
      headers: { ...JSON_TYPE, Authorization: `Bearer ${API_KEY}` },
      body:
        messages.length === 1
          ? `{"channel":"${channel}","message":${messages[0]}}`
          : `[${messages.map((message) => `{"channel":"${channel}","message":${message}}`).join(",")}]`,
    }),
    batches: true,
    socketPublish: {
      open: (channel) => ({
        path: `/channels/${channel}/socket`,
        headers: { Authorization: `Bearer ${API_KEY}` },
        hello: [],
      }),
      text: (message) => `{"action":"message","payload":${message}}`,
    },
    ackPublish: {
      open: () => ({
        path: "/socket?frames=batch",
        headers: { Authorization: `Bearer ${API_KEY}` },
        hello: [],
        heartbeat: "ping",
      }),
      frame: (channel, id, message) =>
        `{"action":"event","options":{"channel":"${channel}","id":"${id}"},"payload":${message}}`,
      ack: '"action":"ack"',
    },
  };
}

const plainPost = (path: string) => (channel: string, messages: string[]) => ({
  path,
  headers: JSON_TYPE,
  body:
    messages.length === 1
      ? `{"channel":"${channel}","message":${messages[0]}}`
      : `{"channel":"${channel}","messages":[${messages.join(",")}]}`,
});

const plain: Dialect = {
  subscribe: (channel) => ({ path: `/${channel}`, hello: [] }),
  publish: plainPost("/message"),
  batches: true,
};

export const DIALECTS = {
  single: ours(""),
  batch: ours("?frames=batch"),
  plain,
  partyserver: {
    subscribe: (channel) => ({ path: `/parties/channels/${channel}`, hello: [] }),
    publish: (channel, messages) => plainPost(`/parties/channels/${channel}`)(channel, messages),
    batches: true,
  },
  socketio: {
    subscribe: (channel) => ({
      path: `/socket.io/?EIO=4&transport=websocket&channel=${channel}`,
      hello: [{ send: "40", until: "40{" }],
    }),
    publish: plainPost("/message"),
    batches: true,
  },
  nchan: {
    subscribe: (channel) => ({ path: `/subscribe?id=${channel}`, hello: [] }),
    publish: (channel, [message = ""]) => ({
      path: `/publish?id=${channel}`,
      headers: JSON_TYPE,
      body: `{"action":"event","options":{"channel":"${channel}"},"payload":${message}}`,
    }),
    batches: false,
  },
} satisfies Record<string, Dialect>;

function workerd(script: string, bindings: WorkerdConfig["bindings"], more: Partial<WorkerdConfig> = {}) {
  return (port: number) => [
    "node",
    here("servers/workerd.ts"),
    JSON.stringify({
      script: built(script),
      port,
      compatibilityDate: "2026-11-01",
      compatibilityFlags: ["no_web_socket_compression"],
      bindings,
      ...more,
    } satisfies WorkerdConfig),
  ];
}

const ourServer = (script: string) => workerd(script, { API_KEYS: API_KEY, ALLOWED_ORIGINS: "" }, { d1: true });

/** The servers that are measured, in the order of the table. */
export const PEERS: Peer[] = [
  {
    name: "durable-channels, batch",
    dialect: "batch",
    note: "this project, sockets with ?frames=batch",
    durable: true,
    command: ourServer("ours"),
  },
  {
    name: "durable-channels",
    dialect: "single",
    note: "this project, one frame per event",
    durable: true,
    command: ourServer("ours"),
  },
  {
    name: "bare object",
    dialect: "plain",
    note: "a Durable Object that stores nothing: the runtime's floor",
    durable: false,
    command: workerd("bare", { STORE: false }),
  },
  {
    name: "bare object, stored",
    dialect: "plain",
    note: "the same with one row written per message",
    durable: true,
    command: workerd("bare", { STORE: true }),
  },
  {
    name: "partyserver",
    dialect: "partyserver",
    note: "hibernating, one row written per message",
    durable: true,
    command: workerd("partyserver", {}),
  },
  {
    name: "ws + SQLite",
    dialect: "plain",
    note: "Node, synchronous=FULL",
    durable: true,
    command: (port) => ["node", here("servers/ws.ts"), String(port)],
  },
  {
    name: "socket.io + SQLite",
    dialect: "socketio",
    note: "Node, synchronous=FULL",
    durable: true,
    command: (port) => ["node", here("servers/socketio.ts"), String(port)],
  },
  {
    name: "Nchan",
    dialect: "nchan",
    note: "nginx in C; in memory only, nothing is durable",
    durable: false,
    command: (port) => ["node", here("servers/nchan.ts"), String(port)],
  },
];

/** This project again, with counters of what Cloudflare bills. */
export const COUNTED: Peer = {
  name: "durable-channels",
  dialect: "single",
  note: "counting what is billed",
  durable: true,
  command: ourServer("counted"),
};
