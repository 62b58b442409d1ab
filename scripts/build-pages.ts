/**
 * Builds the files that the server serves: the pages' scripts, the client library for other pages to import, openapi.json and
 * asyncapi.json. wrangler runs it before it serves or deploys (wrangler.toml, [build]).
 */
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
    client: "packages/client/src/client.ts",
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

for (const { path, contents } of outputFiles) writeIfChanged(path, contents);

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
writeIfChanged("public/openapi.json", Buffer.from(JSON.stringify(openapi(version))));
writeIfChanged("public/asyncapi.json", Buffer.from(JSON.stringify(asyncapi(version))));

/** Writes a file unless it is unchanged. Another server may be reading it, and a server that watches it would reload. */
function writeIfChanged(path: string, contents: Uint8Array): void {
  if (existsSync(path) && readFileSync(path).equals(contents)) return;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}
