import { ListQuery } from "../protocol/queries.ts";
import { validate } from "../protocol/validate.ts";
import { type AppContext, unwrap } from "./request.ts";

/**
 * Returns a page of a list of names, by the query's `limit` and `after`, and the path of the next page, null if there
 * is none.
 *
 * @param list Returns at most `limit` items after a name, in order.
 */
export async function listPage<T>(
  c: AppContext,
  list: (after: string, limit: number) => Promise<T[]>,
  nameOf: (item: T) => string,
): Promise<{ items: T[]; next: string | null }> {
  const { after, limit } = unwrap(validate(ListQuery, c.req.query(), "query"));
  // One more item than the limit shows whether there is a next page.
  const found = await list(after, limit + 1);
  const items = found.slice(0, limit);
  const last = items.at(-1);
  const isLast = last === undefined || found.length <= limit;
  return { items, next: isLast ? null : `${c.req.path}?limit=${limit}&after=${encodeURIComponent(nameOf(last))}` };
}
