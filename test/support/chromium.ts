import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const CANDIDATES = [
  process.env["CHROMIUM_PATH"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** Prevents Chromium's own requests to the internet, so that tests work offline. */
const QUIET = [
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts a headless Chromium. Installs one first if there is none. */
export async function launch(): Promise<Browser> {
  const executablePath = installed() ?? install();
  return chromium.launch({ executablePath, args: ["--headless", "--no-sandbox", "--disable-gpu", ...QUIET] });
}

function installed(): string | undefined {
  return CANDIDATES.find((path) => path !== undefined && existsSync(path));
}

/** Installs Chromium from the Debian packages if possible, and with Playwright otherwise. */
function install(): string {
  const debian = process.getuid?.() === 0 && spawnSync("apt-get", ["--version"]).status === 0;
  if (debian) {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    execFileSync("apt-get", ["update", "-qq"], { stdio: "inherit", env });
    execFileSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "chromium"], { stdio: "inherit", env });
    const path = installed();
    if (path !== undefined) return path;
  } else {
    execFileSync("playwright-core", ["install", "chromium"], { stdio: "inherit" });
    if (existsSync(chromium.executablePath())) return chromium.executablePath();
  }
  throw new Error("No Chromium was found, and none could be installed. Install one, or set CHROMIUM_PATH.");
}
