/**
 * Runs a Worker directly on workerd: Miniflare only starts it, and requests go to workerd's own socket. This avoids the static
 * assets' router and wrangler's dev proxy, which costs five to ten times as much CPU as the measured code.
 */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { migrate } from "../../test/support/migrations.ts";

/** The configuration of a Worker, passed as JSON. */
export interface WorkerdConfig {
  script: string;
  port: number;
  compatibilityDate: string;
  compatibilityFlags: string[];
  bindings: Record<string, string | boolean>;
  /** Whether it has this project's D1 database DB. */
  d1?: boolean;
}

const config = JSON.parse(process.argv[2] ?? "") as WorkerdConfig;

const runtime = new Miniflare(
  convertV4MiniflareOptions({
    name: "bench",
    modules: [{ type: "ESModule", path: "index.js", contents: readFileSync(config.script, "utf8") }],
    compatibilityDate: config.compatibilityDate,
    compatibilityFlags: config.compatibilityFlags,
    bindings: config.bindings,
    durableObjects: { CHANNELS: { className: "Channel", useSQLite: true } },
    ...(config.d1 === true && { d1Databases: { DB: "bench" } }),
    unsafeDirectSockets: [{ host: "127.0.0.1", port: config.port }],
    defaultPersistRoot: mkdtempSync(join(tmpdir(), "bench-")),
  }),
);
await runtime.ready;
if (config.d1) await migrate(await runtime.getD1Database("DB"));
console.log("ready");
