import { ChannelPattern, DatabaseName, ListQuery } from "../protocol/schemas.ts";
import * as examples from "./examples.ts";
import { ASKING, BODY, CHANNEL, channel, type Operation, type Parameter, query } from "./operation.ts";

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
const listing = query(ListQuery, {
  limit: ["How many at most.", 50],
  after: ["The name behind which to go on.", "a"],
});

export const settings: Operation[] = [
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
        example: { channels: [examples.NAMED_SETTINGS], next: null },
      },
    },
    errors: ["invalid-field", ...ASKING, "unavailable", "internal"],
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
      content: { schema: "NamedSettings", example: examples.NAMED_SETTINGS },
    },
    errors: ["invalid-field", ...ASKING, "not-found", "unavailable", "internal"],
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
      content: { schema: "NamedSettings", example: examples.NAMED_SETTINGS },
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
  {
    id: "readStats",
    method: "get",
    path: "/channels/{channel}/stats",
    tag: "Settings",
    summary: "See how a channel is doing",
    description: "Where it stands, who is connected, and how much was said in the last hour.",
    access: "server",
    parameters: [channel],
    answer: {
      status: 200,
      description: "The numbers.",
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
    errors: ["invalid-field", ...ASKING, ...CHANNEL],
  },
];

export const databases: Operation[] = [
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
        example: { databases: [examples.NAMED_DATABASE], next: null },
      },
    },
    errors: ["invalid-field", ...ASKING, "unavailable", "internal"],
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
      content: { schema: "NamedDatabase", example: examples.NAMED_DATABASE },
    },
    errors: ["invalid-field", ...ASKING, "not-found", "unavailable", "internal"],
  },
  {
    id: "writeDatabase",
    method: "put",
    path: "/databases/{name}",
    tag: "Auth databases",
    summary: "Set an auth database",
    description:
      "Changes concern new connections, within five seconds. Refused if another database has this `dbo_id`, or has one of its keys with the same `audience` and no other `issuer`: each would accept the other's tokens.",
    access: "server",
    parameters: [database],
    body: { schema: "AuthDatabase", example: examples.AUTH_DATABASE },
    answer: {
      status: 200,
      description: "The database.",
      content: { schema: "NamedDatabase", example: examples.NAMED_DATABASE },
    },
    errors: [...BODY, ...ASKING, "unavailable", "internal"],
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
    errors: ["invalid-field", ...ASKING, "unavailable", "internal"],
  },
  {
    id: "makeToken",
    method: "post",
    path: "/databases/{name}/tokens",
    tag: "Auth databases",
    summary: "Make a token",
    description:
      "For a user of a database that has a `secret`. Its `aud` is the database's `audience`, by default `durable-channels:{name}`.",
    access: "server",
    parameters: [database],
    body: { schema: "TokenRequest", example: { id: 42, extras: { name: "Carol" }, expires_in: 3600 } },
    answer: { status: 201, description: "A token.", content: { schema: "Token", example: examples.TOKEN } },
    errors: [...BODY, ...ASKING, "forbidden", "not-found", "unavailable", "internal"],
  },
  {
    id: "disconnectUsers",
    method: "post",
    path: "/databases/{name}/disconnect",
    tag: "Auth databases",
    summary: "Disconnect a user",
    description:
      "Revokes the tokens that a user has by now, or all users have if `id` is left out: those issued at or before this second, and those without `iat`. They are refused within five seconds, for 30 days. A channel closes the user's sockets with 4401 before it delivers or accepts anything else, at most five seconds later.",
    access: "server",
    parameters: [database],
    body: { schema: "DisconnectRequest", example: { id: 42 } },
    answer: {
      status: 200,
      description: "The tokens are revoked.",
      content: { schema: "Disconnected", example: examples.DISCONNECTED },
    },
    errors: [...BODY, ...ASKING, "not-found", "unavailable", "internal"],
  },
];
