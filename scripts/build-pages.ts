/** Bundles the pages' scripts, and the client for other pages to import. wrangler runs it before it serves or deploys (wrangler.toml, [build]). */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: {
    "build/chat": "src/pages/chat.ts",
    "build/console": "src/pages/console/app.tsx",
    client: "src/client/client.ts",
  },
  outdir: "public",
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  sourcemap: true,
  logLevel: "warning",
  write: false,
});

// What is unchanged stays untouched: another server may be reading it, and a watching one would reload for nothing.
for (const { path, contents } of outputFiles) {
  if (existsSync(path) && readFileSync(path).equals(contents)) continue;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}
