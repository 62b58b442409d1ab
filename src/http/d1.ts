import { routePath } from "hono/route";
import { tryD1 } from "../shared/try-d1.ts";
import { withDeadline } from "../shared/deadline.ts";
import { type AppContext, unwrap } from "./request.ts";

/** The time limit of each D1 query, for requests that read or change settings and auth databases. */
const D1_TIMEOUT_MS = 5_000;

/**
 * Returns the result of a D1 query. Throws `unavailable` if D1 fails or is late. The query may then still take effect,
 * so it must be harmless to repeat.
 */
export async function fromD1<T>(c: AppContext, query: () => Promise<T>): Promise<T> {
  return unwrap(await tryD1(() => withDeadline(D1_TIMEOUT_MS, query()), { route: routePath(c, -1) }));
}
