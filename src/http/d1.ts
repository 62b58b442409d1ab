import { routePath } from "hono/route";
import { tryD1 } from "../shared/try-d1.ts";
import { withDeadline } from "../shared/deadline.ts";
import { type AppContext, unwrap } from "./request.ts";

/** How long a request that reads or sets settings and auth databases waits for D1, for each statement. */
const D1_TIMEOUT_MS = 5_000;

/**
 * Returns what D1 returns. Throws `unavailable` if D1 fails or does not answer in time; the statement may still take effect
 * then, so it must be harmless to repeat.
 */
export async function fromD1<T>(c: AppContext, ask: () => Promise<T>): Promise<T> {
  return unwrap(await tryD1(() => withDeadline(D1_TIMEOUT_MS, ask()), { route: routePath(c, -1) }));
}
