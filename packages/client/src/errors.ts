import type { ErrorCode } from "../../../src/protocol/errors.ts";

/**
 * The errors that the client itself reports.
 *
 * - `network`: the server did not answer, or there is no connection.
 * - `unexpected`: the answer did not come from this server, for example from a proxy.
 * - `token`: the token function failed.
 * - `invalid-payload`: the payload does not match the channel's schema, or cannot be written as JSON.
 * - `queue-full`: too many messages are waiting to be sent.
 * - `unconfirmed`: the message was sent, but it is unknown whether the server accepted it.
 * - `closed`: the channel was closed before the message was stored.
 */
export type ClientErrorCode =
  | "network"
  | "unexpected"
  | "token"
  | "invalid-payload"
  | "queue-full"
  | "unconfirmed"
  | "closed";

export interface ErrorDetails {
  /** The HTTP status. Undefined if the error did not come as an HTTP response. */
  status?: number;
  /** The wrong field, such as `message` or `options.after`. */
  field?: string;
  /** The limit that was exceeded. */
  limit?: number;
  /** Seconds to wait before the next attempt. */
  retryAfter?: number;
  cause?: unknown;
}

/** The error of every failed operation of a channel. `code` is for programs, `message` for people. */
export class ChannelError extends Error {
  override readonly name = "ChannelError";
  readonly status: number | undefined;
  readonly field: string | undefined;
  readonly limit: number | undefined;
  readonly retryAfter: number | undefined;

  constructor(
    readonly code: ErrorCode | ClientErrorCode,
    message: string,
    { status, field, limit, retryAfter, cause }: ErrorDetails = {},
  ) {
    super(message, { cause });
    this.status = status;
    this.field = field;
    this.limit = limit;
    this.retryAfter = retryAfter;
  }
}

/** Returns whether the same request may succeed soon. A used-up quota is not renewed until midnight, so it doesn't count. */
export function isRetryable({ code, status = 0 }: ChannelError): boolean {
  if (code === "quota-exceeded") return false;
  return code === "network" || code === "token" || status === 429 || status >= 500;
}

/** Returns the error of a response other than 2xx. The body is a problem (RFC 9457), or comes from a proxy and may not be JSON. */
export async function errorOf(response: Response): Promise<ChannelError> {
  const { status } = response;
  const problem = (await response.json().catch(() => ({}))) as Problem;
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  const retryAfter = problem.retryAfter ?? (seconds >= 0 ? seconds : undefined);
  const code = /^\/problems\/([\w-]+)$/.exec(problem.type ?? "")?.[1] as ErrorCode | undefined;
  return new ChannelError(code ?? "unexpected", problem.detail ?? `The server answered ${status}.`, {
    ...problem,
    status,
    ...(retryAfter !== undefined && { retryAfter }),
  });
}

interface Problem {
  type?: string;
  detail?: string;
  field?: string;
  limit?: number;
  retryAfter?: number;
}
