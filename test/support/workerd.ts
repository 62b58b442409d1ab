import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { unstable_readConfig as readConfig } from "wrangler";
import { migrate } from "./migrations.ts";

/**
 * The Worker on workerd itself, without wrangler's proxy, which shakes hands with clients on its own: bundled and
 * configured as wrangler.toml says. The channels of its D1 are those of the migrations.
 */
export async function startWorkerd(): Promise<{ port: number; stop: () => Promise<void> }> {
  const { main = "", compatibility_date = "", compatibility_flags } = readConfig({ config: "wrangler.toml" });
  const bundle = await build({
    entryPoints: [main],
    bundle: true,
    write: false,
    format: "esm",
    external: ["cloudflare:*"],
    conditions: ["workerd"],
  });
  const data = mkdtempSync(join(tmpdir(), "durable-channels-"));
  const runtime = new Miniflare(
    convertV4MiniflareOptions({
      name: "worker",
      modules: [{ type: "ESModule", path: "index.js", contents: bundle.outputFiles[0]?.text ?? "" }],
      compatibilityDate: compatibility_date,
      compatibilityFlags: compatibility_flags,
      durableObjects: { CHANNELS: { className: "Channel", useSQLite: true } },
      d1Databases: { DB: "test" },
      ratelimits: { RATE_LIMITER: { namespace_id: "1", simple: { limit: 1_000, period: 10 } } },
      unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
      defaultPersistRoot: data,
    }),
  );
  const { port } = await runtime.unsafeGetDirectURL();
  await migrate(await runtime.getD1Database("DB"));
  return {
    port: Number(port),
    stop: async () => {
      await runtime.dispose();
      rmSync(data, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
