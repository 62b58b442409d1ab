import type { ErrorCode } from "../protocol/errors.ts";

/**
 * What goes wrong on this side of the wire.
 *
 * - `network`: the server gave no answer.
 * - `unexpected`: what answered is not this server.
 * - `token`: the token function failed.
 * - `invalid-payload`: a payload that does not satisfy the channel's schema, or is no JSON.
 * - `queue-full`: more waits to be sent than may wait.
 * - `unconfirmed`: sent over the socket, but whether it was stored is not known.
 * - `closed`: the channel was closed before it was sent.
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
  /** The HTTP status, where the answer had one. */
  status?: number;
  /** The field that is wrong: `message`, `options.after`. */
  field?: string;
  /** The bound that was passed. */
  limit?: number;
  /** Seconds after which it may succeed. */
  retryAfter?: number;
  cause?: unknown;
}

/** Everything that a channel can fail with. `code` is for programs, `message` for people. */
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

/** Whether the very same request may succeed soon. A quota that is used up is only renewed at midnight. */
export function isRetryable({ code, status = 0 }: ChannelError): boolean {
  if (code === "quota-exceeded") return false;
  return code === "network" || code === "token" || status === 429 || status >= 500;
}

/** What an answer other than 2xx says: a problem (RFC 9457), or something in between that speaks no JSON. */
export async function errorOf(answer: Response): Promise<ChannelError> {
  const { status } = answer;
  const problem = (await answer.json().catch(() => ({}))) as Problem;
  const seconds = Number(answer.headers.get("Retry-After") ?? NaN);
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
