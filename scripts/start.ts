/**
 * `npm start`: runs the server on this machine. Creates an API key if there is none, applies the migrations to the local D1,
 * and runs `wrangler dev` with all flags that were passed.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const VARS_FILE = ".dev.vars";

/** The secret and the auth database of the API reference's examples (src/api-docs/examples.ts). No other database has this secret. */
const EXAMPLE_SECRET = "AUTH_SECRET_MARVEL";
const EXAMPLE_CONFIG = {
  dbo_id: 1138,
  secret: EXAMPLE_SECRET,
  algorithm: "HS256",
  id_claim: "sub",
  extras_claim: "extras",
};
const EXAMPLE_DATABASE = `INSERT OR IGNORE INTO databases (name, dbo_id, config)
  VALUES ('marvel_users', ${EXAMPLE_CONFIG.dbo_id}, '${JSON.stringify(EXAMPLE_CONFIG)}')`;
/** Only a new database has not applied this migration yet. */
const FIRST_MIGRATION = "0000_messages_and_channels.sql";

const flags = process.argv.slice(2);
// Turns off wrangler's requests to the internet, so that it also works offline.
const env = { ...process.env, WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false" };

ensureSecrets();
migrate();
serve();

/** Creates an API key, and secrets for auth databases, unless they exist. */
function ensureSecrets(): void {
  const key = ensureSecret("API_KEYS");
  console.log(
    `API key: ${key === undefined ? `see API_KEYS in ${VARS_FILE}` : `${key} (new, stored in ${VARS_FILE})`}`,
  );
  ensureSecret("AUTH_SECRET");
  ensureSecret(EXAMPLE_SECRET);
}

/** Returns the new secret, or undefined if the secret already existed. */
function ensureSecret(name: string): string | undefined {
  const vars = existsSync(VARS_FILE) ? readFileSync(VARS_FILE, "utf8") : "";
  if (new RegExp(`^\\s*${name}\\s*=`, "m").test(vars)) return undefined;
  const secret = randomBytes(32).toString("base64url");
  const separator = vars === "" || vars.endsWith("\n") ? "" : "\n";
  appendFileSync(VARS_FILE, `${separator}${name}="${secret}"\n`, { mode: 0o600 });
  return secret;
}

/** Applies the migrations to the local D1 that the server will use. */
function migrate(): void {
  const { values } = parseArgs({
    args: flags,
    strict: false,
    options: {
      "persist-to": { type: "string" },
      config: { type: "string", short: "c" },
      env: { type: "string", short: "e" },
    },
  });
  const shared = Object.entries(values)
    .filter(([flag]) => ["persist-to", "config", "env"].includes(flag))
    .map(([flag, value]) => `--${flag}=${String(value)}`);
  const applied = d1(["migrations", "apply", "DB", "--local", ...shared]);
  // Only once, so that the example database is not restored after its user has changed or removed it.
  if (applied.includes(FIRST_MIGRATION)) d1(["execute", "DB", "--local", "--command", EXAMPLE_DATABASE, ...shared]);
}

/** Returns what `wrangler d1` prints. Ends the process if it fails. */
function d1(args: string[]): string {
  const run = spawnSync("wrangler", ["d1", ...args], { env: { ...env, CI: "true" }, encoding: "utf8" });
  if (run.status === 0) return run.stdout;
  process.stderr.write(`${run.stdout ?? ""}${run.stderr ?? ""}${run.error ? `${run.error.message}\n` : ""}`);
  console.error("The local D1 database could not be set up. See the output of wrangler above.");
  process.exit(1);
}

function serve(): void {
  const server = spawn("wrangler", ["dev", "--var", `LOCAL_HOSTS:${givenHosts()}`, ...flags], {
    env,
    stdio: "inherit",
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => server.kill(signal));
  server.on("exit", (code, signal) => process.exit(code ?? (signal === null ? 0 : 1)));
}

/**
 * Returns the hosts from `--ip` and `--host`, comma-separated. The server answers only at these, at localhost and at IP
 * addresses. At any other host, a malicious page may have sent the browser here through its own DNS (src/http/hosts.ts).
 */
function givenHosts(): string {
  const { values } = parseArgs({
    args: flags,
    strict: false,
    options: { ip: { type: "string" }, host: { type: "string" } },
  });
  return [values.ip, values.host].filter((host) => typeof host === "string").join(",");
}
