import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** The result of a block: its output, and the status of each of its requests. */
export interface Said {
  output: string;
  statuses: number[];
}

/** The timeout of a block. Blocks wait for nothing but the server. */
const TIMEOUT_MS = 60_000;

/**
 * Runs blocks one after the other in one shell, as a reader pastes them, and returns what each said. A command that fails, and
 * a variable that no block has set, end it. It runs in a directory that holds the project's .dev.vars and nothing else, so that
 * a block that installs or deploys something cannot harm the project.
 *
 * @throws Error with the output
 */
export async function paste(blocks: string[], shell = "sh"): Promise<Said[]> {
  const { PATH } = process.env;
  const cwd = mkdtempSync(join(tmpdir(), "durable-channels-"));
  copyFileSync(".dev.vars", join(cwd, ".dev.vars"));
  try {
    // Only what a new terminal has: a variable that happens to be set here must not hide that no block sets it.
    const { stdout, stderr } = await promisify(execFile)(shell, ["-c", scriptOf(blocks)], {
      cwd,
      env: { PATH },
      timeout: TIMEOUT_MS,
    });
    const statuses = stderr.split(END).map((part) => part.split("\n").filter(Boolean).map(Number));
    return stdout
      .split(END)
      .slice(0, blocks.length)
      .map((output, index) => ({ output, statuses: statuses[index] ?? [] }));
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`the blocks failed:\n${stdout}${stderr}`, { cause: error });
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

const END = "\u{1f}";

function scriptOf(blocks: string[]): string {
  const curl = `curl() { command curl --silent --show-error --write-out '%{stderr}%{http_code}\\n' "$@"; }`;
  const end = `printf '\\037'; printf '\\037' >&2`;
  return ["set -eu", curl, ...blocks.map((block) => `${block}\n${end}`)].join("\n");
}

/** Returns the expected status of each request of a block: the one in the comment after it (`# 401`), or success. */
export function expectedStatuses(block: string): (number | "2xx")[] {
  const [, ...requests] = block.split(/(?:^|\$\()curl /m);
  return requests.map((text) => Number(/ # ([45]\d\d)\b/.exec(text)?.[1] ?? 0) || "2xx");
}
