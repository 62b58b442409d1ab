import { ListQuery } from "../protocol/queries.ts";
import { validate } from "../protocol/validate.ts";
import { type AppContext, unwrap } from "./request.ts";

/**
 * A page of a list of names: as many as asked for, behind the name that was asked for, and the path of the next page.
 *
 * @param list Reads so many behind a name, in order.
 */
export async function listPage<T>(
  c: AppContext,
  list: (after: string, limit: number) => Promise<T[]>,
  nameOf: (item: T) => string,
): Promise<{ items: T[]; next: string | null }> {
  const { after, limit } = unwrap(validate(ListQuery, c.req.query(), "query"));
  // One more than asked for tells whether there is a next page.
  const found = await list(after, limit + 1);
  const items = found.slice(0, limit);
  const last = items.at(-1);
  const isLast = last === undefined || found.length <= limit;
  return { items, next: isLast ? null : `${c.req.path}?limit=${limit}&after=${encodeURIComponent(nameOf(last))}` };
}
