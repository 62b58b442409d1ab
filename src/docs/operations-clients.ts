import * as v from "valibot";
import type { ErrorCode } from "../protocol/errors.ts";
import { HistoryQuery, IdempotencyKey, PresenceQuery, SocketQuery } from "../protocol/schemas.ts";
import * as examples from "./examples.ts";
import { ASKING, BODY, canonical, CHANNEL, channel, type Operation, type Parameter, query } from "./operation.ts";

const idempotencyKey: Parameter = {
  name: "Idempotency-Key",
  in: "header",
  schema: v.optional(IdempotencyKey),
  description:
    "1 to 255 visible ASCII characters that you never use for another message: sent again with the same, it is stored once.",
  example: "order-1138",
};

export const publishing: Operation[] = [
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
    errors: [...BODY, ...ASKING, "forbidden", "quota-exceeded", "key-reused", "keys-full", "backlog-full", ...CHANNEL],
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
    errors: [...BODY, "wrong-origin", "wrong-host", "rate-limited"],
  },
];

/** What the result of one message of a batch may say instead of its place. */
export const RESULT_ERRORS: ErrorCode[] = [
  "invalid-field",
  "unauthorized",
  "rate-limited",
  "forbidden",
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
      "A page of what was said, oldest first. Following `next` gives each message exactly once, wherever it is stored and whatever is published meanwhile. A page ends early where its messages pass 4 MiB of text.",
    access: "anybody",
    parameters: [
      channel,
      ...query(HistoryQuery, {
        limit: ["How many messages at most.", 50],
        before: ["End before this `seq`.", 100],
        after: ["Begin behind this `seq`, and read forward. Without it the page is the latest.", 0],
        q: ["Only messages whose payload's JSON text contains this, in whatever case.", "avengers"],
        since: ["Only messages of this time or later (RFC 3339).", "2026-11-24T00:00:00Z"],
        until: ["Only messages from before this time (RFC 3339).", "2027-11-24T00:00:00Z"],
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

export const sockets: Operation[] = [
  {
    id: "openSocket",
    method: "get",
    path: "/channels/{channel}/socket",
    tag: "Sockets",
    summary: "Open a socket to a channel",
    description: `${UPGRADE} Browsers send a credential as a subprotocol: alone, or beside \`durable-channels.v1\`.`,
    access: "anybody",
    parameters: [
      channel,
      ...query(SocketQuery, {
        frames: ["`batch`: each text message of the server's is a JSON array of frames, of many under load.", "batch"],
      }),
    ],
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
    parameters: [canonical],
    answer: { status: 101, description: "The socket is open." },
    errors: ["not-found", "upgrade-required", ...ASKING],
  },
];
