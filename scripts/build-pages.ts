/** Bundles the pages' scripts into public/build. wrangler runs it before it serves or deploys (wrangler.toml, [build]). */
import { build } from "esbuild";

await build({
  entryPoints: ["src/pages/chat.ts"],
  outdir: "public/build",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  logLevel: "warning",
});
