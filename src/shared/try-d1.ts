import { logFailure } from "./logging.ts";
import { refuse, type Result } from "../protocol/errors.ts";

/**
 * What D1 answers; where it fails, or not in time, that is logged and the caller may try again.
 *
 * @param fields What says where it happened, for the log.
 * @param detail What the caller is told.
 */
export async function tryD1<T>(
  ask: () => T | Promise<T>,
  fields: Record<string, string>,
  detail = "D1 does not answer.",
): Promise<Result<T>> {
  try {
    return { ok: true, value: await ask() };
  } catch (error) {
    logFailure("D1 did not answer", error, fields);
    return refuse("unavailable", detail, { retryAfter: 1 });
  }
}
