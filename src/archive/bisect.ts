/**
 * SQL that finds for each of some times the first position whose message is of then or later: by binary search, as `time`
 * never falls while `seq` grows (ORD3). So a time needs no index, which would cost a row written for each message.
 *
 * Its parameters: the times, as a JSON array of milliseconds since the epoch; the position at which to begin; the one to
 * answer where there is none before it; and what `table` needs. It answers one `position` each, in the order of the times.
 *
 * @param table The messages, joined by their position `(low + high) / 2`, or by that of the next one which exists. Where there
 *   is none, what is searched for is earlier.
 * @param position SQL for what to answer, from the position `low` that was found.
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
