import { logFailure } from "./logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";

/**
 * Returns the result of a D1 query. If D1 fails or the query is late, logs that and returns `unavailable`.
 *
 * @param fields Where it happened, for the log.
 * @param detail The text for the client.
 */
export async function tryD1<T>(
  query: () => T | Promise<T>,
  fields: Record<string, string>,
  detail = "D1 does not answer. Try again in 1 s.",
): Promise<Result<T>> {
  try {
    return { ok: true, value: await query() };
  } catch (error) {
    logFailure("D1 did not answer", error, fields);
    return refuse("unavailable", detail, { retryAfter: 1 });
  }
}
