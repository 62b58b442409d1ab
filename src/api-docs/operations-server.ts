import { ListQuery } from "../protocol/queries.ts";
import { ChannelPattern, DatabaseName } from "../protocol/values.ts";
import * as examples from "./examples.ts";
import { AUTHENTICATING, BODY, CHANNEL, channel, type Operation, type Parameter, query } from "./operation.ts";

const pattern: Parameter = {
  ...channel,
  schema: ChannelPattern,
  description: "A channel's name or a pattern (`room/*`, `*`), percent-encoded as one segment.",
};
const ownPattern: Parameter = { ...pattern, example: examples.OWN_CHANNEL };
const database: Parameter = {
  name: "name",
  in: "path",
  schema: DatabaseName,
  description: "The database's name.",
  example: examples.DATABASE,
};
const ownDatabase: Parameter = { ...database, example: examples.OWN_DATABASE };
const listing = query(ListQuery, {
  limit: ["The largest number of entries.", 50],
  after: ["Only names after this one."],
});

export const settings: Operation[] = [
  {
    id: "listSettings",
    method: "get",
    path: "/channels",
    tag: "Settings",
    summary: "List settings",
    description: "Lists the stored settings of all channels and patterns, by name.",
    access: "server",
    parameters: listing,
    answer: {
      status: 200,
      description: "A page.",
      content: {
        schema: "SettingsList",
        example: { channels: [examples.NAMED_SETTINGS], next: null },
      },
    },
    errors: ["invalid-field", ...AUTHENTICATING, "unavailable", "internal"],
  },
  {
    id: "readSettings",
    method: "get",
    path: "/channels/{channel}",
    tag: "Settings",
    summary: "Read settings",
    description: "Returns the settings that are stored for exactly this channel or pattern.",
    access: "server",
    parameters: [pattern],
    answer: {
      status: 200,
      description: "The settings.",
      content: { schema: "NamedSettings", example: examples.NAMED_SETTINGS },
    },
    errors: ["invalid-field", ...AUTHENTICATING, "not-found", "unavailable", "internal"],
  },
  {
    id: "writeSettings",
    method: "put",
    path: "/channels/{channel}",
    tag: "Settings",
    summary: "Set settings",
    description:
      "Replaces the stored settings. For each channel the nearest settings hold, as a whole: its own, then `room/*`, then `room` if that has `nested_channels`, then `*`. A channel's own settings reach its open sockets at once.",
    access: "server",
    parameters: [ownPattern],
    body: { schema: "ChannelSettings", example: examples.SETTINGS },
    answer: {
      status: 200,
      description: "The settings, including defaults.",
      content: { schema: "NamedSettings", example: examples.OWN_NAMED_SETTINGS },
    },
    errors: [...BODY, ...AUTHENTICATING, ...CHANNEL],
  },
  {
    id: "deleteSettings",
    method: "delete",
    path: "/channels/{channel}",
    tag: "Settings",
    summary: "Remove settings",
    description:
      "Removes the stored settings. Then the next nearest settings hold. Without any settings, a channel admits only API-key clients.",
    access: "server",
    parameters: [ownPattern],
    answer: { status: 204, description: "The settings are removed." },
    errors: ["invalid-field", ...AUTHENTICATING, ...CHANNEL],
  },
  {
    id: "readStats",
    method: "get",
    path: "/channels/{channel}/stats",
    tag: "Settings",
    summary: "Read a channel's stats",
    description: "Returns the channel's last `seq` and backlog, its sockets, and its messages in the last hour.",
    access: "server",
    parameters: [channel],
    answer: {
      status: 200,
      description: "The stats.",
      content: {
        schema: "Stats",
        example: {
          channel: examples.CHANNEL,
          seq: 17,
          archived: 15,
          backlog: 2,
          capacity: 10_000,
          sockets: 3,
          joined: 2,
          minutes: [{ time: "2026-11-24T02:15:00.000Z", messages: 4 }],
        },
      },
    },
    errors: ["invalid-field", ...AUTHENTICATING, ...CHANNEL],
  },
];

export const databases: Operation[] = [
  {
    id: "listDatabases",
    method: "get",
    path: "/databases",
    tag: "Auth databases",
    summary: "List auth databases",
    description: "Lists the auth databases, by name.",
    access: "server",
    parameters: listing,
    answer: {
      status: 200,
      description: "A page.",
      content: {
        schema: "DatabaseList",
        example: { databases: [examples.NAMED_DATABASE], next: null },
      },
    },
    errors: ["invalid-field", ...AUTHENTICATING, "unavailable", "internal"],
  },
  {
    id: "readDatabase",
    method: "get",
    path: "/databases/{name}",
    tag: "Auth databases",
    summary: "Read an auth database",
    description: "Returns the configuration: public keys, or the name of a secret, but never the secret itself.",
    access: "server",
    parameters: [database],
    answer: {
      status: 200,
      description: "The database.",
      content: { schema: "NamedDatabase", example: examples.NAMED_DATABASE },
    },
    errors: ["invalid-field", ...AUTHENTICATING, "not-found", "unavailable", "internal"],
  },
  {
    id: "writeDatabase",
    method: "put",
    path: "/databases/{name}",
    tag: "Auth databases",
    summary: "Set an auth database",
    description:
      "Stores the configuration. Changes affect new connections, within five seconds. Refused if another database has this `dbo_id`. Also refused if another database has one of the keys and the same `audience`, unless both have an `issuer` and the issuers differ: each would accept the other's tokens.",
    access: "server",
    parameters: [ownDatabase],
    body: { schema: "AuthDatabase", example: examples.AUTH_DATABASE },
    answer: {
      status: 200,
      description: "The database.",
      content: { schema: "NamedDatabase", example: examples.OWN_NAMED_DATABASE },
    },
    errors: [...BODY, ...AUTHENTICATING, "unavailable", "internal"],
  },
  {
    id: "deleteDatabase",
    method: "delete",
    path: "/databases/{name}",
    tag: "Auth databases",
    summary: "Remove an auth database",
    description: "Removes the database. The tokens of its users are then refused.",
    access: "server",
    parameters: [ownDatabase],
    answer: { status: 204, description: "The database is removed." },
    errors: ["invalid-field", ...AUTHENTICATING, "unavailable", "internal"],
  },
  {
    id: "makeToken",
    method: "post",
    path: "/databases/{name}/tokens",
    tag: "Auth databases",
    summary: "Make a token",
    description:
      "Makes a token for a user of a database that has a `secret`. Its `aud` is the database's `audience`, by default `durable-channels:{name}`.",
    access: "server",
    parameters: [database],
    body: { schema: "TokenRequest", example: { id: 42, extras: { name: "Carol" }, expires_in: 3600 } },
    answer: { status: 201, description: "The token.", content: { schema: "Token", example: examples.TOKEN } },
    errors: [...BODY, ...AUTHENTICATING, "forbidden", "not-found", "unavailable", "internal"],
  },
  {
    id: "disconnectUsers",
    method: "post",
    path: "/databases/{name}/disconnect",
    tag: "Auth databases",
    summary: "Disconnect a user",
    description:
      "Revokes the tokens of a user, or of all users if `id` is left out: the tokens that were issued until now, and the tokens without `iat`. They are refused within five seconds, for 30 days. At most five seconds later, each channel closes the user's sockets with 4401 before it delivers or accepts anything else.",
    access: "server",
    parameters: [database],
    body: { schema: "DisconnectRequest", example: { id: 42 } },
    answer: {
      status: 200,
      description: "The tokens are revoked.",
      content: { schema: "Disconnected", example: examples.DISCONNECTED },
    },
    errors: [...BODY, ...AUTHENTICATING, "not-found", "unavailable", "internal"],
  },
];
