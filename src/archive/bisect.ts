/**
 * Returns SQL that finds, for each of several times, the first position whose message has that time or a later one. It
 * is a binary search, because `time` never falls while `seq` grows (ORD3). So no index on `time` is needed, which would
 * cost a row written per message.
 *
 * Its parameters: the times, as a JSON array of milliseconds since the epoch; the first position to search; the
 * position to return if there is none; and the parameters of `table`. It returns one `position` per time, in the order
 * of the times.
 *
 * @param table The messages, joined by the position `(low + high) / 2`, or by the next position that exists. If the
 *   join finds no message, the search continues at earlier positions.
 * @param position SQL for the position to return, from the position `low` that was found.
 */
export function searchByTime(table: string, position = "low"): string {
  // D1 binds every number as a REAL.
  return `
    WITH RECURSIVE search(place, wanted, low, high) AS (
      SELECT key, value, CAST(?2 AS INTEGER), CAST(?3 AS INTEGER) FROM json_each(?1)
      UNION ALL
      SELECT place, wanted,
        iif(time < wanted, (low + high) / 2 + 1, low),
        iif(time < wanted, high, (low + high) / 2)
      FROM search LEFT JOIN ${table}
      WHERE low < high
    )
    SELECT coalesce(${position}, CAST(?3 AS INTEGER)) AS position FROM search WHERE low >= high ORDER BY place`;
}
