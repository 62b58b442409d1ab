/** What is logged, in words that stay the same: queries and alerts name them (docs/operating.md). */
export type LogEvent =
  /** The Worker or a channel's object failed in a way that was not expected. */
  | "request failed"
  /** The Worker or a channel's object asked D1, and got no answer. */
  | "D1 did not answer"
  /** A backlog could not be brought to D1; another attempt follows by itself. */
  | "archiving failed"
  /** D1 takes other messages but not this one. The channel's object keeps it and goes on with those after it. */
  | "message not archivable"
  /** The platform refused to set a channel object's alarm. */
  | "alarm not set"
  /** A token could not be verified, and not for a fault of its own. */
  | "token not verifiable"
  /** One of `API_KEYS` is too short, too long, or holds what cannot be sent: it lets nobody in. Logged once, like the next. */
  | "API key ignored"
  /** An entry of `ALLOWED_ORIGINS` is no origin: pages of it are refused. Logged once by each instance of the Worker. */
  | "allowed origin not usable";

/**
 * The one place that logs: one JSON object an event, which Workers Logs takes apart into fields that can be searched.
 *
 * @param fields What says where it happened: names and numbers, never what people send. Contents and tokens are not logged.
 */
export function logFailure(message: LogEvent, error: unknown, fields: Record<string, string | number> = {}): void {
  console.error({ message, ...fields, error: causeOf(error) });
}

/**
 * Returns what may be logged of an error: its root cause's words. drizzle wraps what D1 said into an error whose own message holds
 * the query's parameters; and a SyntaxError quotes the text that it could not parse.
 */
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return "not an Error";
  if (error.cause !== undefined) return causeOf(error.cause);
  return error instanceof SyntaxError ? error.name : `${error.name}: ${error.message}`;
}
