import { type ErrorCode, type Fault, problemOf } from "../protocol/errors.ts";

/** The examples of both documents. Tests send each of them to a server. */

export const CHANNEL = "docs/avengers";
export const DATABASE = "docs-heroes";

const TIME = "2026-11-24T02:15:23.123Z";
const STRANGER = { socketId: "", permissions: { dbo_id: 0, row_id: 0 }, extras: {} };

export const CLIENT = {
  socketId: "0198e1a2-5c1f-4a6e-9d7b-3f1c2b4a5d6e",
  permissions: { dbo_id: 1138, row_id: 42 },
  extras: { name: "Carol" },
};

export const EVENT = {
  action: "event",
  client: { ...STRANGER, permissions: { dbo_id: 1138, row_id: 42 } },
  options: { channel: CHANNEL, seq: 17, time: TIME },
  payload: { text: "Avengers, assemble!" },
};

export const SETTINGS = {
  anonymous_clients: true,
  presence: true,
  message_history: 100,
  public_messaging: { active: true, auth: true },
  private_messaging: { active: true, auth: true },
  database: DATABASE,
};

/** Settings as they are answered: with what was left out. */
export const ALL_SETTINGS = {
  active: true,
  description: "",
  nested_channels: false,
  auth_channel: false,
  anonymous_bytes_per_day: 67_108_864,
  ...SETTINGS,
};

export const NAMED_SETTINGS = { channel: CHANNEL, settings: ALL_SETTINGS };

export const AUTH_DATABASE = { dbo_id: 1138, secret: "AUTH_SECRET", extras_claim: "extras" };
export const FULL_DATABASE = { ...AUTH_DATABASE, algorithm: "HS256", id_claim: "sub" };
export const NAMED_DATABASE = { database: DATABASE, config: FULL_DATABASE };

export const MESSAGE = {
  channel: CHANNEL,
  message: { text: "Avengers, assemble!" },
  sender: { database: DATABASE, id: 42 },
};

export const BATCH = [
  { channel: CHANNEL, message: "On your left." },
  { channel: CHANNEL, message: { text: "For the authenticated." }, database: DATABASE },
];

export const PLACED = { channel: CHANNEL, seq: 17, time: TIME };

export const RESULTS = {
  results: [
    { status: 201, ...PLACED },
    {
      ...problemOf({ code: "forbidden", detail: "This is not the auth database of the channel.", field: "database" }),
      channel: CHANNEL,
    },
  ],
};

export const PAGE = {
  channel: CHANNEL,
  seq: 17,
  next: "/channels/docs%2Favengers/messages?limit=1&before=17",
  messages: [EVENT],
};

export const TOKEN = { token: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl", expires: TIME };

export const DISCONNECTED = { database: DATABASE, id: 42, revoked_until: TIME };

/** What an error says, by its code: one that may well happen. */
export const FAULTS: Record<ErrorCode, Omit<Fault, "code">> = {
  "invalid-json": { detail: "Expected property name or '}' in JSON at position 1 (line 1 column 2)" },
  "invalid-field": { detail: "channel is required.", field: "channel" },
  "invalid-number": { detail: "Numbers must fit into an IEEE 754 double (RFC 8259, section 6)." },
  "too-deep": { detail: "At most 64 levels of arrays and objects are accepted.", limit: 64 },
  unauthorized: { detail: "The token has expired.", field: "Authorization" },
  forbidden: { detail: "This channel takes no such messages from clients." },
  "wrong-origin": { detail: "Pages of this origin may not use this server.", field: "Origin" },
  "wrong-host": { detail: "This development server does not answer at example.test.", field: "Host" },
  "quota-exceeded": {
    detail: "Anonymous clients may store 67108864 bytes per day in this channel; this message does not fit any more.",
    limit: 67_108_864,
    retryAfter: 3_600,
  },
  "rate-limited": { detail: "There are too many requests from this address.", retryAfter: 10 },
  "unknown-recipient": { detail: "No client of this channel has that socketId.", field: "options.socketId" },
  "not-found": { detail: "docs/avengers has no settings." },
  "method-not-allowed": { detail: "/message answers POST only; got GET." },
  "too-large": { detail: "At most 65536 bytes are accepted.", limit: 65_536 },
  "unsupported-media-type": {
    detail: "Send the body as JSON, with the header Content-Type: application/json.",
    field: "Content-Type",
  },
  "upgrade-required": { detail: "Open this address as a WebSocket." },
  "key-reused": {
    detail: "This key came with another message before; a new message needs a new key.",
    field: "Idempotency-Key",
  },
  "not-joined": { detail: "Join the channel first.", field: "options.channel" },
  "too-many-channels": { detail: "A connection joins at most 100 channels.", limit: 100 },
  "not-text": { detail: "Send JSON in a text frame." },
  internal: { detail: "The request could not be completed." },
  "backlog-full": { detail: "The channel takes no more until its archive has caught up.", retryAfter: 5 },
  "keys-full": {
    detail: "The channel remembers as many idempotency keys as it can; it takes messages without a key.",
    field: "Idempotency-Key",
    retryAfter: 3_600,
  },
  "too-many-sockets": { detail: "At most 50 sockets of one user are held.", limit: 50, retryAfter: 30 },
  unavailable: { detail: "The channel does not answer just now.", retryAfter: 1 },
};
