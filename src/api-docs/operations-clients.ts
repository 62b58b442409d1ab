import * as v from "valibot";
import type { ErrorCode } from "../protocol/errors.ts";
import { IdempotencyKey } from "../protocol/publish-request.ts";
import { HistoryQuery, PresenceQuery, SocketQuery } from "../protocol/queries.ts";
import * as examples from "./examples.ts";
import {
  AUTHENTICATING,
  BODY,
  canonical,
  CHANNEL,
  channel,
  type Operation,
  type Parameter,
  query,
} from "./operation.ts";

const idempotencyKey: Parameter = {
  name: "Idempotency-Key",
  in: "header",
  schema: v.optional(IdempotencyKey),
  description:
    "1 to 255 visible ASCII characters, for example `order-1138`. If you send a message again with its key, it is stored once. A new message needs a new key.",
};

export const publishing: Operation[] = [
  {
    id: "publish",
    method: "post",
    path: "/message",
    tag: "Publishing",
    summary: "Publish a message",
    description:
      "Stores the message, delivers it to the channel's subscribers, and answers once it is stored. A message with `ephemeral`, `socketId` or `user` is delivered and not stored; it has no `seq`.",
    access: "anybody",
    parameters: [idempotencyKey],
    body: { schema: "PublishRequest", example: examples.MESSAGE },
    answer: {
      status: 201,
      description: "The message is stored.",
      content: { schema: "PublishResult", example: examples.PUBLISH_RESULT },
    },
    otherAnswer: {
      status: 200,
      description: "The message is delivered, and not stored.",
      content: { schema: "DeliverResult", example: { channel: examples.CHANNEL } },
    },
    errors: [
      ...BODY,
      ...AUTHENTICATING,
      "forbidden",
      "unknown-recipient",
      "quota-exceeded",
      "key-reused",
      "keys-full",
      "backlog-full",
      ...CHANNEL,
    ],
  },
  {
    id: "publishMany",
    method: "post",
    path: "/messages",
    tag: "Publishing",
    summary: "Publish many messages",
    description:
      "Up to 1,000 messages for up to 100 channels. Order holds within a channel, and a channel's messages are stored in one commit. If any part of a batch is malformed, all of it is refused. Other errors of a channel or a message are in the results.",
    access: "anybody",
    parameters: [idempotencyKey],
    body: { schema: "BatchRequest", example: examples.BATCH },
    answer: {
      status: 200,
      description: "One result for each message.",
      content: { schema: "BatchResults", example: examples.RESULTS },
    },
    errors: [...BODY, "wrong-origin", "wrong-host", "rate-limited"],
  },
];

/** The errors that the result of one message of a batch may have. */
export const RESULT_ERRORS: ErrorCode[] = [
  "invalid-field",
  "unauthorized",
  "rate-limited",
  "forbidden",
  "unknown-recipient",
  "quota-exceeded",
  "key-reused",
  "keys-full",
  "backlog-full",
  ...CHANNEL,
];

export const reading: Operation[] = [
  {
    id: "readHistory",
    method: "get",
    path: "/channels/{channel}/messages",
    tag: "Reading",
    summary: "Read history",
    description:
      "Returns a page of history, oldest first. A client that follows `next` gets each message exactly once, wherever it is stored and whatever is published meanwhile. A page ends early if its messages exceed 4 MiB of text.",
    access: "anybody",
    parameters: [
      channel,
      ...query(HistoryQuery, {
        limit: ["The largest number of messages.", 50],
        before: ["Only messages before this `seq`."],
        after: ["Only messages after this `seq`, oldest first. Without it the page has the latest messages."],
        type: ["Only messages of this type: `order.created`."],
        q: ["Only messages whose payload's JSON text contains this, in upper or lower case: `avengers`."],
        since: ["Only messages of this time or later (RFC 3339): `2026-11-24T00:00:00Z`."],
        until: ["Only messages from before this time (RFC 3339): `2027-11-24T00:00:00Z`."],
      }),
    ],
    answer: {
      status: 200,
      description: "A page.",
      content: { schema: "HistoryPage", example: examples.PAGE },
      link: true,
    },
    errors: ["invalid-field", ...AUTHENTICATING, "forbidden", ...CHANNEL],
  },
  {
    id: "readPresence",
    method: "get",
    path: "/channels/{channel}/presence",
    tag: "Reading",
    summary: "Read presence",
    description:
      "Returns the members: the users and anonymous clients that have joined the channel. API-key clients are not members.",
    access: "anybody",
    parameters: [channel, ...query(PresenceQuery, { limit: ["The largest number of members to list.", 100] })],
    answer: {
      status: 200,
      description: "The members.",
      content: { schema: "Presence", example: { total: 1, presence: [examples.CLIENT] } },
    },
    errors: ["invalid-field", ...AUTHENTICATING, "forbidden", ...CHANNEL],
  },
];

const UPGRADE = "A WebSocket upgrade (RFC 6455). [asyncapi.json](/asyncapi.json) describes the frames.";

const framing = query(SocketQuery, {
  frames: [
    "With `batch`, each text message from the server is a JSON array of frames: one under low load, several under high load.",
    "batch",
  ],
});

export const sockets: Operation[] = [
  {
    id: "openSocket",
    method: "get",
    path: "/channels/{channel}/socket",
    tag: "Sockets",
    summary: "Open a socket to a channel",
    description: `${UPGRADE} Browsers send a credential as a subprotocol, alone or together with \`durable-channels.v1\`.`,
    access: "anybody",
    parameters: [channel, ...framing],
    answer: { status: 101, description: "The socket is open." },
    errors: ["invalid-field", ...AUTHENTICATING, "forbidden", "upgrade-required", "too-many-sockets", ...CHANNEL],
  },
  {
    id: "openSharedSocket",
    method: "get",
    path: "/socket",
    tag: "Sockets",
    summary: "Open a socket for many channels",
    description: `${UPGRADE} Each frame names its channel.`,
    access: "anybody",
    parameters: framing,
    answer: { status: 101, description: "The socket is open." },
    errors: ["invalid-field", "upgrade-required", ...AUTHENTICATING],
  },
  {
    id: "openMultiplexedSocket",
    method: "get",
    path: "/rt/{canonical}",
    tag: "Sockets",
    summary: "Open a socket for many channels, as a client of Xano Realtime",
    description: `${UPGRADE} Each frame names its channel. Xano Realtime's clients open this address.`,
    access: "anybody",
    parameters: [canonical, ...framing],
    answer: { status: 101, description: "The socket is open." },
    errors: ["invalid-field", "not-found", "upgrade-required", ...AUTHENTICATING],
  },
];
