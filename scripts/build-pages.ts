/** Makes what is served as files: the pages' scripts, the client for other pages to import, and the documents that describe the interface. wrangler runs it before it serves or deploys (wrangler.toml, [build]). */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { build } from "esbuild";
import { asyncapi } from "../src/api-docs/asyncapi.ts";
import { openapi } from "../src/api-docs/openapi.ts";

const { outputFiles } = await build({
  entryPoints: {
    "build/chat": "src/pages/chat.ts",
    "build/console": "src/pages/console/app.tsx",
    "build/docs": "src/pages/docs.ts",
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

for (const { path, contents } of outputFiles) keep(path, contents);

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
keep("public/openapi.json", Buffer.from(JSON.stringify(openapi(version))));
keep("public/asyncapi.json", Buffer.from(JSON.stringify(asyncapi(version))));

/** What is unchanged stays untouched: another server may be reading it, and a watching one would reload for nothing. */
function keep(path: string, contents: Uint8Array): void {
  if (existsSync(path) && readFileSync(path).equals(contents)) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}
