/** Bundles the measured Workers, all in the same way. */
import { build } from "esbuild";

export async function buildWorkers(): Promise<void> {
  await build({
    absWorkingDir: import.meta.dirname,
    entryPoints: {
      ours: "servers/ours.worker.ts",
      counted: "servers/counted.worker.ts",
      bare: "servers/bare.worker.ts",
      partyserver: "servers/partyserver.worker.ts",
    },
    outdir: "dist",
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    external: ["cloudflare:*", "node:*"],
    conditions: ["workerd", "worker", "browser"],
    logLevel: "warning",
  });
}
