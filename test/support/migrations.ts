import { join } from "node:path";
import { readD1Migrations } from "@cloudflare/vitest-pool-workers";
import type { D1Database } from "@cloudflare/workers-types";

/** Creates the tables in a D1 database of Miniflare. */
export async function migrate(database: D1Database): Promise<void> {
  const migrations = await readD1Migrations(join(import.meta.dirname, "../../migrations"));
  for (const query of migrations.flatMap(({ queries }) => queries)) await database.prepare(query).run();
}
