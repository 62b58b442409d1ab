/**
 * `npm start`: the server on this machine, ready to use. Makes an API key if there is none, brings the local D1 up to
 * date, and runs `wrangler dev`; every flag given goes on to it.
 */
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const VARS_FILE = ".dev.vars";

const flags = process.argv.slice(2);
// Local by design: nothing is reported or looked up, and without internet nothing waits or complains.
const env = { ...process.env, WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false" };

ensureSecrets();
migrate();
serve();

/** Makes an API key, and a secret for the tokens of a first auth database, where there are none. */
function ensureSecrets(): void {
  const key = ensureSecret("API_KEYS");
  console.log(`API key: ${key === undefined ? `see API_KEYS in ${VARS_FILE}` : `${key} (new, kept in ${VARS_FILE})`}`);
  ensureSecret("AUTH_SECRET");
}

/** Answers the secret that it made, undefined where there was one. */
function ensureSecret(name: string): string | undefined {
  const vars = existsSync(VARS_FILE) ? readFileSync(VARS_FILE, "utf8") : "";
  if (new RegExp(`^\\s*${name}\\s*=`, "m").test(vars)) return undefined;
  const secret = randomBytes(32).toString("base64url");
  const separator = vars === "" || vars.endsWith("\n") ? "" : "\n";
  appendFileSync(VARS_FILE, `${separator}${name}="${secret}"\n`, { mode: 0o600 });
  return secret;
}

/** Applies the D1 migrations where the server will look for its data. */
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
  const run = spawnSync("wrangler", ["d1", "migrations", "apply", "DB", "--local", ...shared], {
    env: { ...env, CI: "true" },
    encoding: "utf8",
  });
  if (run.status === 0) return;
  process.stderr.write(`${run.stdout ?? ""}${run.stderr ?? ""}${run.error ? `${run.error.message}\n` : ""}`);
  console.error("The D1 migrations could not be applied.");
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
 * Returns the names that the server answers at, beside localhost and IP addresses, comma-separated: those that its user gives.
 * At any other, a page of a stranger may have led the browser here by its own DNS (src/http/hosts.ts).
 */
function givenHosts(): string {
  const { values } = parseArgs({
    args: flags,
    strict: false,
    options: { ip: { type: "string" }, host: { type: "string" } },
  });
  return [values.ip, values.host].filter((host) => typeof host === "string").join(",");
}
