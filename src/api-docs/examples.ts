import { type ErrorCode, type Fault, problemOf } from "../protocol/errors.ts";

/**
 * The examples of both documents. Tests send each of them to a server. On a new server that `npm start` has set up,
 * each request succeeds by itself, because the API reference offers it that way.
 */

/** The demo channel, which exists on every server. */
export const CHANNEL = "marvel_chat_room";
/** The auth database that `npm start` creates (scripts/start.ts). */
export const DATABASE = "marvel_users";
/** A channel and a database that a reader may change and remove without losing data. */
export const OWN_CHANNEL = "news";
export const OWN_DATABASE = "readers";
/** The channel in the examples of frames. */
export const FRAME_CHANNEL = "avengers";

const TIME = "2026-11-24T02:15:23.123Z";
const ANONYMOUS_CLIENT = { socketId: "", permissions: { dbo_id: 0, row_id: 0 }, extras: {} };

export const CLIENT = {
  socketId: "0198e1a2-5c1f-4a6e-9d7b-3f1c2b4a5d6e",
  permissions: { dbo_id: 1138, row_id: 42 },
  extras: { name: "Carol" },
};

const eventOn = (channel: string) => ({
  action: "event",
  client: { ...ANONYMOUS_CLIENT, permissions: { dbo_id: 1138, row_id: 42 } },
  options: { channel, seq: 17, time: TIME },
  payload: { name: "Carol", text: "Avengers, assemble!" },
});
export const EVENT = eventOn(CHANNEL);
export const EVENT_FRAME = eventOn(FRAME_CHANNEL);

export const SETTINGS = {
  anonymous_clients: true,
  presence: true,
  message_history: 100,
  public_messaging: { active: true, auth: false },
  private_messaging: { active: true, auth: false },
  database: null,
};

/** Settings as the server returns them: including the defaults. */
export const ALL_SETTINGS = {
  active: true,
  description: "",
  nested_channels: false,
  auth_channel: false,
  anonymous_bytes_per_day: 67_108_864,
  ...SETTINGS,
};

const settingsOf = (channel: string) => ({ channel, settings: ALL_SETTINGS });
export const NAMED_SETTINGS = settingsOf(CHANNEL);
export const OWN_NAMED_SETTINGS = settingsOf(OWN_CHANNEL);

export const AUTH_DATABASE = { dbo_id: 1139, secret: "AUTH_SECRET", extras_claim: "extras" };
const databaseOf = (database: string, dbo_id: number, secret: string) => ({
  database,
  config: { dbo_id, secret, extras_claim: "extras", algorithm: "HS256", id_claim: "sub" },
});
export const NAMED_DATABASE = databaseOf(DATABASE, 1138, "AUTH_SECRET_MARVEL");
export const OWN_NAMED_DATABASE = databaseOf(OWN_DATABASE, AUTH_DATABASE.dbo_id, AUTH_DATABASE.secret);

export const MESSAGE = { channel: CHANNEL, message: { name: "Carol", text: "Avengers, assemble!" } };

export const BATCH = [
  { channel: CHANNEL, message: "On your left." },
  { channel: CHANNEL, message: { name: "Sam", text: "On my way." } },
];

export const PUBLISH_RESULT = { channel: CHANNEL, seq: 17, time: TIME };

export const RESULTS = {
  results: [
    { status: 201, ...PUBLISH_RESULT },
    {
      ...problemOf({
        code: "forbidden",
        detail: "The channel's auth database is not readers. Name the channel's auth database, or leave database out.",
        field: "database",
      }),
      channel: CHANNEL,
    },
  ],
};

export const PAGE = {
  channel: CHANNEL,
  seq: 17,
  next: "/channels/marvel_chat_room/messages?limit=1&before=17",
  messages: [EVENT],
};

export const TOKEN = { token: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl", expires: TIME };

export const DISCONNECTED = { database: DATABASE, id: 42, revoked_until: TIME };

/** An example of each error, by its code. */
export const FAULTS: Record<ErrorCode, Omit<Fault, "code">> = {
  "invalid-json": { detail: "Expected property name or '}' in JSON at position 1 (line 1 column 2)" },
  "invalid-field": { detail: "channel is required.", field: "channel" },
  "invalid-number": {
    detail: "A number does not fit into an IEEE 754 double, whose largest value is about 1.8e308. Send it as a string.",
  },
  "too-deep": { detail: "JSON may be nested at most 64 levels deep. Flatten it, or send it as a string.", limit: 64 },
  unauthorized: { detail: "The token has expired. Get a new one.", field: "Authorization" },
  forbidden: {
    detail:
      "This channel does not allow clients to send this kind of message. Set public_messaging.active in its settings.",
  },
  "wrong-origin": {
    detail:
      "Pages of https://app.example.com may not use this server. If the pages are yours, add the origin to ALLOWED_ORIGINS in wrangler.toml.",
    field: "Origin",
  },
  "wrong-host": {
    detail:
      "This development server does not answer at example.test. To allow this host, start the server with: npm start -- --host example.test",
    field: "Host",
  },
  "quota-exceeded": {
    detail:
      "Anonymous clients may store 67108864 bytes per day in this channel, and this message would exceed that. The quota is renewed at midnight UTC.",
    limit: 67_108_864,
    retryAfter: 3_600,
  },
  "rate-limited": { detail: "This address has sent too many requests. Try again in 10 s.", retryAfter: 10 },
  "unknown-recipient": {
    detail: "No client that has joined this channel has this socketId. It may have left.",
    field: "options.socketId",
  },
  "not-found": { detail: "There are no settings stored for news." },
  "method-not-allowed": { detail: "/message supports only POST; got GET." },
  "too-large": { detail: "A body or frame may have at most 65536 bytes. Send less, or split it.", limit: 65_536 },
  "unsupported-media-type": {
    detail: "Send the body as JSON, with the header Content-Type: application/json.",
    field: "Content-Type",
  },
  "upgrade-required": { detail: "This address accepts only WebSocket connections. Open it with a WebSocket client." },
  "key-reused": {
    detail: "This idempotency key was used for a different message. Send a new message with a new key.",
    field: "Idempotency-Key",
  },
  "not-joined": { detail: "This connection has not joined avengers. Send a join first.", field: "options.channel" },
  "too-many-channels": {
    detail: "A connection may join at most 100 channels. Leave one, or open another connection.",
    limit: 100,
  },
  "not-text": { detail: "Frames must be text, but this one is binary. Send JSON in a text message." },
  internal: {
    detail: "The server failed unexpectedly, and logged the error. The request may or may not have taken effect.",
  },
  "backlog-full": {
    detail: "The channel has as many unarchived messages as it can hold. Try again in 5 s.",
    retryAfter: 5,
  },
  "keys-full": {
    detail: "The channel's storage for idempotency keys is full. Try again in 3600 s, or publish without a key.",
    field: "Idempotency-Key",
    retryAfter: 3_600,
  },
  "too-many-sockets": {
    detail: "A user may have at most 50 sockets on a channel. Close sockets, or connect again in 30 s.",
    limit: 50,
    retryAfter: 30,
  },
  unavailable: { detail: "The channel does not answer. Try again in 1 s.", retryAfter: 1 },
};
