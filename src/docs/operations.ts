import type { GenericSchema } from "valibot";
import type { ErrorCode } from "../protocol/errors.ts";
import { ERRORS } from "../protocol/errors.ts";
import {
  ChannelName,
  ChannelPattern,
  DatabaseName,
  HistoryQuery,
  IdempotencyKey,
  ListQuery,
  PresenceQuery,
} from "../protocol/schemas.ts";
import * as v from "valibot";
import * as examples from "./examples.ts";
import type { HTTP } from "./schemas.ts";

type SchemaName = keyof typeof HTTP;

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  schema: GenericSchema;
  description: string;
  example: string | number;
}

interface Content {
  schema: SchemaName;
  example: unknown;
}

/** An operation of the HTTP interface, as openapi.ts puts it into the document. */
export interface Operation {
  id: string;
  method: "get" | "post" | "put" | "delete";
  path: string;
  tag: string;
  summary: string;
  description: string;
  /** `server`: an API key only. `anybody`: whom the channel's settings let. `none`: no credentials are needed. */
  access: "server" | "anybody" | "none";
  parameters: Parameter[];
  body?: Content;
  answer: { status: number; description: string; content?: Content; link?: boolean };
  errors: ErrorCode[];
}

/** May happen wherever somebody asks, and where credentials are looked at. */
const ASKING: ErrorCode[] = ["unauthorized", "wrong-origin", "rate-limited"];
/** May happen wherever a body is read. */
const BODY: ErrorCode[] = [
  "invalid-json",
  "invalid-field",
  "invalid-number",
  "too-deep",
  "too-large",
  "unsupported-media-type",
];
/** May happen wherever a channel is asked. */
const CHANNEL: ErrorCode[] = ["unavailable", "internal"];

const channel: Parameter = {
  name: "channel",
  in: "path",
  schema: ChannelName,
  description: "The channel's name, percent-encoded as one segment.",
  example: examples.CHANNEL,
};
const pattern: Parameter = {
  ...channel,
  schema: ChannelPattern,
  description: "A channel's name or a pattern (`room/*`, `*`), percent-encoded as one segment.",
};
const database: Parameter = {
  name: "name",
  in: "path",
  schema: DatabaseName,
  description: "The database's name.",
  example: examples.DATABASE,
};
const idempotencyKey: Parameter = {
  name: "Idempotency-Key",
  in: "header",
  schema: v.optional(IdempotencyKey),
  description:
    "1 to 255 visible ASCII characters that you never use for another message: sent again with the same, it is stored once.",
  example: "order-1138",
};

/** The parameters of a query, each of which must be explained. */
function query<const E extends v.ObjectEntries>(
  { entries }: v.ObjectSchema<E, undefined>,
  texts: { [K in keyof E]: [description: string, example: string | number] },
): Parameter[] {
  return Object.entries(texts).map(([name, [description, example]]) => {
    const schema = entries[name];
    if (schema === undefined) throw new Error(`there is no parameter ${name}`);
    return { name, in: "query", schema, description, example };
  });
}

const listing = query(ListQuery, {
  limit: ["How many at most.", 50],
  after: ["The name behind which to go on.", "a"],
});

const publishing: Operation[] = [
  {
    id: "publish",
    method: "post",
    path: "/message",
    tag: "Publishing",
    summary: "Publish a message",
    description: "Stores the message, delivers it to everyone in the channel, and answers once it is stored.",
    access: "anybody",
    parameters: [idempotencyKey],
    body: { schema: "PublishRequest", example: examples.MESSAGE },
    answer: { status: 201, description: "Stored.", content: { schema: "Placed", example: examples.PLACED } },
    errors: [...BODY, ...ASKING, "forbidden", "key-reused", "backlog-full", ...CHANNEL],
  },
  {
    id: "publishMany",
    method: "post",
    path: "/messages",
    tag: "Publishing",
    summary: "Publish many messages",
    description:
      "Up to 1,000 messages for up to 100 channels. Order holds within a channel, and a channel's messages are stored in one commit. A batch in which anything is malformed is refused whole; what is wrong with one channel or message is in its result.",
    access: "anybody",
    parameters: [{ ...idempotencyKey, example: "orders-1138" }],
    body: { schema: "BatchRequest", example: examples.BATCH },
    answer: {
      status: 200,
      description: "One result for each message.",
      content: { schema: "BatchResults", example: examples.RESULTS },
    },
    errors: [...BODY, "wrong-origin"],
  },
];

/** What the result of one message of a batch may say instead of its place. */
export const RESULT_ERRORS: ErrorCode[] = [
  "invalid-field",
  "unauthorized",
  "rate-limited",
  "forbidden",
  "key-reused",
  "backlog-full",
  ...CHANNEL,
];

const reading: Operation[] = [
  {
    id: "readHistory",
    method: "get",
    path: "/channels/{channel}/messages",
    tag: "Reading",
    summary: "Read history",
    description:
      "A page of what was said, oldest first. Following `next` gives each message exactly once, wherever it is stored and whatever is published meanwhile. A page ends early where its messages pass 4 MiB of text.",
    access: "anybody",
    parameters: [
      channel,
      ...query(HistoryQuery, {
        limit: ["How many messages at most.", 50],
        before: ["End before this `seq`.", 100],
        after: ["Begin behind this `seq`, and read forward. Without it the page is the latest.", 0],
      }),
    ],
    answer: {
      status: 200,
      description: "A page.",
      content: { schema: "HistoryPage", example: examples.PAGE },
      link: true,
    },
    errors: ["invalid-field", ...ASKING, "forbidden", ...CHANNEL],
  },
  {
    id: "readPresence",
    method: "get",
    path: "/channels/{channel}/presence",
    tag: "Reading",
    summary: "See who is here",
    description: "The clients that joined the channel. The server side's do not count.",
    access: "anybody",
    parameters: [channel, ...query(PresenceQuery, { limit: ["How many to list at most.", 100] })],
    answer: {
      status: 200,
      description: "Who is here.",
      content: { schema: "Presence", example: { total: 1, presence: [examples.CLIENT] } },
    },
    errors: ["invalid-field", ...ASKING, "forbidden", ...CHANNEL],
  },
];

const UPGRADE =
  "A WebSocket upgrade (RFC 6455). What goes over the socket is described by [asyncapi.json](/asyncapi.json).";

const sockets: Operation[] = [
  {
    id: "openSocket",
    method: "get",
    path: "/channels/{channel}/socket",
    tag: "Sockets",
    summary: "Open a socket to a channel",
    description: `${UPGRADE} Browsers send a credential as a subprotocol: alone, or beside \`durable-channels.v1\`.`,
    access: "anybody",
    parameters: [channel],
    answer: { status: 101, description: "The socket is open." },
    errors: ["invalid-field", ...ASKING, "forbidden", "upgrade-required", "too-many-sockets", ...CHANNEL],
  },
  {
    id: "openMultiplexedSocket",
    method: "get",
    path: "/rt/{canonical}",
    tag: "Sockets",
    summary: "Open a socket for many channels",
    description: `${UPGRADE} Each frame names its channel. This is the address that Xano Realtime's clients open.`,
    access: "anybody",
    parameters: [
      {
        name: "canonical",
        in: "path",
        schema: v.string(),
        description: "Any text; where the variable `REALTIME_CANONICAL` is set, just that.",
        example: "avengers",
      },
    ],
    answer: { status: 101, description: "The socket is open." },
    errors: ["not-found", "upgrade-required", ...ASKING],
  },
];

const settings: Operation[] = [
  {
    id: "listSettings",
    method: "get",
    path: "/channels",
    tag: "Settings",
    summary: "List settings",
    description: "All channels and patterns that settings are stored for, by name.",
    access: "server",
    parameters: listing,
    answer: {
      status: 200,
      description: "A page.",
      content: {
        schema: "SettingsList",
        example: { channels: [{ channel: examples.CHANNEL, settings: examples.ALL_SETTINGS }], next: null },
      },
    },
    errors: ["invalid-field", ...ASKING, "internal"],
  },
  {
    id: "readSettings",
    method: "get",
    path: "/channels/{channel}",
    tag: "Settings",
    summary: "Read settings",
    description: "What is stored for just this channel or pattern.",
    access: "server",
    parameters: [pattern],
    answer: {
      status: 200,
      description: "The settings.",
      content: { schema: "NamedSettings", example: { channel: examples.CHANNEL, settings: examples.ALL_SETTINGS } },
    },
    errors: ["invalid-field", ...ASKING, "not-found", "internal"],
  },
  {
    id: "writeSettings",
    method: "put",
    path: "/channels/{channel}",
    tag: "Settings",
    summary: "Set settings",
    description:
      "Replaces what is stored. Of what holds for a channel the nearest counts, whole: its own, `room/*`, `room` where that has `nested_channels`, `*`. A channel's open sockets are told at once.",
    access: "server",
    parameters: [pattern],
    body: { schema: "ChannelSettings", example: examples.SETTINGS },
    answer: {
      status: 200,
      description: "The settings, with what was left out.",
      content: { schema: "NamedSettings", example: { channel: examples.CHANNEL, settings: examples.ALL_SETTINGS } },
    },
    errors: [...BODY, ...ASKING, ...CHANNEL],
  },
  {
    id: "deleteSettings",
    method: "delete",
    path: "/channels/{channel}",
    tag: "Settings",
    summary: "Remove settings",
    description: "Then what is stored above holds, or nothing: without settings a channel admits only an API key.",
    access: "server",
    parameters: [pattern],
    answer: { status: 204, description: "There are none any more." },
    errors: ["invalid-field", ...ASKING, ...CHANNEL],
  },
];

const databases: Operation[] = [
  {
    id: "listDatabases",
    method: "get",
    path: "/databases",
    tag: "Auth databases",
    summary: "List auth databases",
    description: "All of them, by name.",
    access: "server",
    parameters: listing,
    answer: {
      status: 200,
      description: "A page.",
      content: {
        schema: "DatabaseList",
        example: { databases: [{ database: examples.DATABASE, config: examples.FULL_DATABASE }], next: null },
      },
    },
    errors: ["invalid-field", ...ASKING, "internal"],
  },
  {
    id: "readDatabase",
    method: "get",
    path: "/databases/{name}",
    tag: "Auth databases",
    summary: "Read an auth database",
    description: "How it verifies. Keys are public ones, or the name of a secret; no secret is answered.",
    access: "server",
    parameters: [database],
    answer: {
      status: 200,
      description: "The database.",
      content: { schema: "NamedDatabase", example: { database: examples.DATABASE, config: examples.FULL_DATABASE } },
    },
    errors: ["invalid-field", ...ASKING, "not-found", "internal"],
  },
  {
    id: "writeDatabase",
    method: "put",
    path: "/databases/{name}",
    tag: "Auth databases",
    summary: "Set an auth database",
    description: "Changes concern new connections, within five seconds.",
    access: "server",
    parameters: [database],
    body: { schema: "AuthDatabase", example: examples.AUTH_DATABASE },
    answer: {
      status: 200,
      description: "The database.",
      content: { schema: "NamedDatabase", example: { database: examples.DATABASE, config: examples.FULL_DATABASE } },
    },
    errors: [...BODY, ...ASKING, "internal"],
  },
  {
    id: "deleteDatabase",
    method: "delete",
    path: "/databases/{name}",
    tag: "Auth databases",
    summary: "Remove an auth database",
    description: "Its users' tokens are refused from then on.",
    access: "server",
    parameters: [database],
    answer: { status: 204, description: "It is gone." },
    errors: ["invalid-field", ...ASKING, "internal"],
  },
  {
    id: "makeToken",
    method: "post",
    path: "/databases/{name}/tokens",
    tag: "Auth databases",
    summary: "Make a token",
    description: "For a user of a database that has a `secret`.",
    access: "server",
    parameters: [database],
    body: { schema: "TokenRequest", example: { id: 42, extras: { name: "Carol" }, expires_in: 3600 } },
    answer: { status: 201, description: "A token.", content: { schema: "Token", example: examples.TOKEN } },
    errors: [...BODY, ...ASKING, "forbidden", "not-found", "unavailable", "internal"],
  },
];

const about: Operation[] = [
  {
    id: "health",
    method: "get",
    path: "/health",
    tag: "The server",
    summary: "Whether the server is well",
    description: "Whether the Worker runs, and D1 answers within two seconds and has its tables.",
    access: "none",
    parameters: [],
    answer: { status: 200, description: "It is.", content: { schema: "Health", example: { status: "ok" } } },
    errors: [...ASKING, "unavailable"],
  },
  {
    id: "explainProblem",
    method: "get",
    path: "/problems/{code}",
    tag: "The server",
    summary: "What a problem means",
    description: "The address that is the `type` of a problem.",
    access: "none",
    parameters: [
      {
        name: "code",
        in: "path",
        schema: v.picklist(Object.keys(ERRORS)),
        description: "The end of a problem's `type`.",
        example: "backlog-full",
      },
    ],
    answer: {
      status: 200,
      description: "The problem.",
      content: {
        schema: "ProblemType",
        example: {
          type: "/problems/backlog-full",
          title: "The archive is behind and the channel's log is full",
          status: 503,
        },
      },
    },
    errors: ["not-found", "wrong-origin"],
  },
];

export const OPERATIONS: Operation[] = [...publishing, ...reading, ...sockets, ...settings, ...databases, ...about];
