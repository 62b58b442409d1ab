/**
 * All errors with which a request or a frame can be refused. The code is stable: it is the end of the `type` of a
 * problem (RFC 9457), and the `code` of an `error` frame. `retryable` tells whether the same request may succeed later,
 * unchanged.
 */
export const ERRORS = {
  "invalid-json": { status: 400, retryable: false, title: "The text is not valid JSON" },
  "invalid-field": {
    status: 400,
    retryable: false,
    title: "A field is missing, unknown or has a value that is not allowed",
  },
  "invalid-number": { status: 400, retryable: false, title: "A number is too large to be stored as it was sent" },
  "too-deep": { status: 400, retryable: false, title: "The JSON is nested too deeply" },
  unauthorized: { status: 401, retryable: false, title: "Credentials are missing or not valid" },
  forbidden: { status: 403, retryable: false, title: "The channel's settings do not allow this" },
  "wrong-origin": {
    status: 403,
    retryable: false,
    title: "Pages of this origin are not allowed",
  },
  "wrong-host": { status: 421, retryable: false, title: "The development server does not serve this host" },
  "rate-limited": {
    status: 429,
    retryable: true,
    title: "Too many requests, frames or messages in too short a time",
  },
  "quota-exceeded": {
    status: 429,
    retryable: true,
    title: "Anonymous clients have used up today's quota of the channel",
  },
  "unknown-recipient": {
    status: 404,
    retryable: false,
    title: "No client of the channel has this socketId",
  },
  "not-found": { status: 404, retryable: false, title: "There is nothing at this address" },
  "method-not-allowed": { status: 405, retryable: false, title: "This address does not support this method" },
  "too-large": { status: 413, retryable: false, title: "The body or frame is too large" },
  "unsupported-media-type": { status: 415, retryable: false, title: "The body is not application/json" },
  "upgrade-required": { status: 426, retryable: false, title: "This address accepts only WebSocket connections" },
  "key-reused": {
    status: 422,
    retryable: false,
    title: "The idempotency key was used for a different message",
  },
  "not-joined": { status: 409, retryable: false, title: "The connection has not joined this channel" },
  "too-many-channels": { status: 409, retryable: false, title: "The connection has joined as many channels as it may" },
  "not-text": { status: 400, retryable: false, title: "Frames must be text, but a binary frame was received" },
  internal: { status: 500, retryable: true, title: "The server failed unexpectedly" },
  "backlog-full": {
    status: 503,
    retryable: true,
    title: "The channel's log is full of messages that are not archived yet",
  },
  "keys-full": { status: 503, retryable: true, title: "The channel's storage for idempotency keys is full" },
  "too-many-sockets": {
    status: 503,
    retryable: true,
    title: "The channel, the user or the address has as many sockets as allowed",
  },
  unavailable: { status: 503, retryable: true, title: "The channel or its storage does not answer now" },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/**
 * An error, for people (`detail`) and programs. It is plain data, because the Durable Object sends it to the Worker.
 */
export interface Fault {
  code: ErrorCode;
  detail: string;
  /** The dotted path of the wrong field: `message`, `options.after`. */
  field?: string;
  /** The exceeded limit, if the error is about one. */
  limit?: number;
  /** Seconds to wait before trying again. */
  retryAfter?: number;
}

/** Returns a fault as the members of a problem (RFC 9457). */
export function problemOf({ code, ...more }: Fault): object {
  return { ...problemType(code), ...more };
}

/** Returns the response of `GET /problems/{code}`. */
export function problemType(code: ErrorCode): { type: string; title: string; status: number } {
  const { title, status } = ERRORS[code];
  return { type: `/problems/${code}`, title, status };
}

/** Carries a fault as an exception. The code that owns the connection turns it into a response. */
export class FaultError extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.detail);
    this.name = "FaultError";
    this.fault = fault;
  }
}

/** The outcome of something that can be refused. */
export type Result<T> = { ok: true; value: T } | { ok: false; fault: Fault };

export function refuse(
  code: ErrorCode,
  detail: string,
  more: Omit<Fault, "code" | "detail"> = {},
): { ok: false; fault: Fault } {
  return { ok: false, fault: { code, detail, ...more } };
}
