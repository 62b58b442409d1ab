/**
 * Every way in which a request or a frame can be refused. The code is the stable part: it ends the `type` of a
 * problem (RFC 9457) and is the `code` of an `error` frame. `retryable` says whether the same request may succeed
 * later, unchanged.
 */
export const ERRORS = {
  "invalid-json": { status: 400, retryable: false, title: "The text is not valid JSON" },
  "invalid-field": {
    status: 400,
    retryable: false,
    title: "A field is missing, unknown or has a value that is not allowed",
  },
  "invalid-number": { status: 400, retryable: false, title: "A number is too large to be kept as it was sent" },
  "too-deep": { status: 400, retryable: false, title: "The JSON is nested too deeply" },
  unauthorized: { status: 401, retryable: false, title: "Credentials are missing or not valid" },
  forbidden: { status: 403, retryable: false, title: "The channel's settings do not allow this" },
  "wrong-origin": {
    status: 403,
    retryable: false,
    title: "Pages of this origin are not allowed",
  },
  "wrong-host": { status: 421, retryable: false, title: "The development server does not answer at this host" },
  "rate-limited": {
    status: 429,
    retryable: true,
    title: "Too much in too short a time",
  },
  "quota-exceeded": {
    status: 429,
    retryable: true,
    title: "Anonymous clients have stored as much as they may today",
  },
  "unknown-recipient": {
    status: 404,
    retryable: false,
    title: "No client of the channel has this socketId",
  },
  "not-found": { status: 404, retryable: false, title: "There is nothing here" },
  "method-not-allowed": { status: 405, retryable: false, title: "This address does not answer this method" },
  "too-large": { status: 413, retryable: false, title: "The body or frame is too large" },
  "unsupported-media-type": { status: 415, retryable: false, title: "The body is not application/json" },
  "upgrade-required": { status: 426, retryable: false, title: "This address speaks WebSocket only" },
  "key-reused": {
    status: 422,
    retryable: false,
    title: "The idempotency key came with another body before",
  },
  "not-joined": { status: 409, retryable: false, title: "The connection has not joined this channel" },
  "too-many-channels": { status: 409, retryable: false, title: "The connection has joined as many channels as it can" },
  "not-text": { status: 400, retryable: false, title: "Frames are text; a binary one was received" },
  internal: { status: 500, retryable: true, title: "Something failed on our side" },
  "backlog-full": { status: 503, retryable: true, title: "The archive is behind and the channel's log is full" },
  "keys-full": { status: 503, retryable: true, title: "The channel remembers as many idempotency keys as it can" },
  "too-many-sockets": { status: 503, retryable: true, title: "The channel holds as many sockets as it can" },
  unavailable: { status: 503, retryable: true, title: "Storage does not answer just now" },
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** What is wrong, for people (`detail`) and programs. Plain data: it crosses from the Durable Object to the Worker. */
export interface Fault {
  code: ErrorCode;
  detail: string;
  /** Dotted path of the field that is wrong: `message`, `options.after`. */
  field?: string;
  /** The bound that was passed, where the fault is one. */
  limit?: number;
  /** Seconds to wait before trying again. */
  retryAfter?: number;
}

/** A fault as a problem's members (RFC 9457). */
export function problemOf({ code, ...more }: Fault): object {
  return { ...problemType(code), ...more };
}

/** What `GET /problems/{code}` tells of a problem. */
export function problemType(code: ErrorCode): { type: string; title: string; status: number } {
  const { title, status } = ERRORS[code];
  return { type: `/problems/${code}`, title, status };
}

/** Throws a fault through code that answers with something else; whoever owns the connection turns it into an answer. */
export class FaultError extends Error {
  readonly fault: Fault;

  constructor(fault: Fault) {
    super(fault.detail);
    this.name = "FaultError";
    this.fault = fault;
  }
}

/** The outcome of what may well be refused. */
export type Result<T> = { ok: true; value: T } | { ok: false; fault: Fault };

export function refuse(
  code: ErrorCode,
  detail: string,
  more: Omit<Fault, "code" | "detail"> = {},
): { ok: false; fault: Fault } {
  return { ok: false, fault: { code, detail, ...more } };
}
