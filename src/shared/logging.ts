/** The messages of log entries. They never change, because queries and alerts name them (docs/guides/operating.md). */
export type LogEvent =
  /** The Worker or a channel object failed unexpectedly. */
  | "request failed"
  /** D1 failed, or did not answer the Worker or a channel object in time. */
  | "D1 did not answer"
  /** The backlog could not be archived. The channel object tries again. */
  | "archiving failed"
  /**
   * D1 refuses this message, although it accepts others. The channel object keeps the message and archives the later
   * ones.
   */
  | "message not archivable"
  /** The platform refused to set a channel object's alarm. */
  | "alarm not set"
  /** A token could not be verified because of the configuration or a key set, not because of the token. */
  | "token not verifiable"
  /**
   * An entry of `API_KEYS` is too short, too long, or contains characters other than visible ASCII, so no client can
   * use it. Logged once per instance of the Worker.
   */
  | "API key ignored"
  /** An entry of `ALLOWED_ORIGINS` is not an origin, so it matches no page. Logged once per instance of the Worker. */
  | "allowed origin not usable";

/**
 * Writes a log entry, as one JSON object, whose fields Workers Logs makes searchable. All logging goes through here.
 *
 * @param fields Where it happened: names and numbers. Never log the contents of messages, or credentials.
 */
export function logFailure(message: LogEvent, error: unknown, fields: Record<string, string | number> = {}): void {
  console.error({ message, ...fields, error: causeOf(error) });
}

/**
 * Returns the name and message of an error's root cause, or only the name of a SyntaxError. Other texts may contain
 * what clients sent: drizzle's errors contain the parameters of the query, and a SyntaxError quotes the text that it
 * could not parse.
 */
export function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return "not an Error";
  if (error.cause !== undefined) return causeOf(error.cause);
  return error instanceof SyntaxError ? error.name : `${error.name}: ${error.message}`;
}
