import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished } from "vitest";
import { serve } from "../support/serve.ts";
import { Server } from "../support/server.ts";
import { call } from "./support.ts";

const run = promisify(execFile);

const CONFIG = "wrangler.toml";
const DATABASE_ID = "b1d4cafe-0000-4000-8000-000000000001";

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "durable-channels-deploy-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Adds the line of the snippet that wrangler prints. */
function withDatabaseId(config: string): string {
  const name = /^database_name = .*$/m;
  expect(config).toMatch(name);
  return config.replace(name, (line) => `${line}\ndatabase_id = "${DATABASE_ID}"`);
}

interface Call {
  method: string;
  path: string;
  body: string;
}

/** Stands in for the API of an account that has the D1 database, and no Worker yet. Returns its address, and notes all calls. */
async function serveAccount(): Promise<{ url: string; calls: Call[] }> {
  const calls: Call[] = [];
  const url = await serve((request, response) => {
    const { method = "", url: path = "" } = request;
    void text(request).then((body) => {
      calls.push({ method, path, body });
      const answer = answerTo(path.replace(/\?.*/, ""));
      response.writeHead(answer.success ? 200 : 404, { "Content-Type": "application/json" });
      response.end(JSON.stringify({ messages: [], errors: [], result: null, ...answer }));
    });
  });
  return { url, calls };
}

/** What the API answers, as far as wrangler uses it: https://developers.cloudflare.com/api/ */
function answerTo(path: string): { success: boolean; result?: unknown; errors?: object[] } {
  const done = (result: unknown) => ({ success: true, result });
  if (/\/d1\/database(\/durable-channels)?$/.test(path)) return done({ uuid: DATABASE_ID, name: "durable-channels" });
  if (path.endsWith(`/d1/database/${DATABASE_ID}/query`)) return done([{ results: [], success: true, meta: {} }]);
  if (path.endsWith("/services/durable-channels")) return { success: false, errors: [{ code: 10_090 }] };
  if (path.endsWith("/durable-channels/settings")) return { success: false, errors: [{ code: 10_007 }] };
  if (path.endsWith("/secrets")) return done([]);
  if (path.endsWith("/deployments")) return done({ deployments: [] });
  if (path.endsWith("/assets-upload-session")) return done({ jwt: "a.b.c", buckets: [] });
  if (path.endsWith("/subdomain")) return done({ subdomain: "me", enabled: true, previews_enabled: false });
  return done({ id: "an-id", subdomain: { enabled: true, previews_enabled: false } });
}

function accountAt(url: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    CLOUDFLARE_API_BASE_URL: url,
    CLOUDFLARE_API_TOKEN: "a-token",
    CLOUDFLARE_ACCOUNT_ID: "an-account",
    WRANGLER_SEND_METRICS: "false",
  };
}

describe("the first deployment", () => {
  it("finds the database by its name, so `wrangler d1 create` and `npm run deploy` need no changed file", async () => {
    const { url, calls } = await serveAccount();
    const env = accountAt(url);
    const config = readFileSync(CONFIG, "utf8");
    await run("npx", ["wrangler", "d1", "create", "durable-channels"], { env });
    await run("npm", ["run", "deploy"], { env });
    expect(readFileSync(CONFIG, "utf8")).toBe(config);

    const isMigration = ({ path, body }: Call) => path.endsWith("/query") && body.includes("CREATE TABLE `messages`");
    const isUpload = ({ method, body }: Call) => method === "PUT" && body.includes('name="metadata"');
    const [migrated, uploaded] = [calls.findIndex(isMigration), calls.findIndex(isUpload)];
    expect(calls[migrated]?.path).toContain(DATABASE_ID);
    expect(calls[uploaded]?.body).toContain(`{"name":"DB","type":"d1","id":"${DATABASE_ID}"}`);
    expect(migrated, "the tables exist before the Worker does").toBeLessThan(uploaded);
  });

  it("leaves the local data in place, also if the id is added to wrangler.toml", async () => {
    const server = await Server.start();
    onTestFinished(() => server.remove());
    const channel = "/channels/kept";
    await call(server, "PUT", channel, { description: "stored before the id was added" });
    await server.kill();

    const directory = newDirectory();
    const file = join(directory, CONFIG);
    const paths = /"(src\/index\.ts|public|migrations|src\/\w+)"/g;
    const config = readFileSync(CONFIG, "utf8").replace(paths, (_, path: string) => JSON.stringify(resolve(path)));
    writeFileSync(file, withDatabaseId(config));
    cpSync(".dev.vars", join(directory, ".dev.vars"));
    await server.run(["--config", file]);
    const answer = await call(server, "GET", channel);
    expect(await answer.json()).toMatchObject({ settings: { description: "stored before the id was added" } });
  });
});
