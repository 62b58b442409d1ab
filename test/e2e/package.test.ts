import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { newRoom, target } from "./support.ts";

/** A project into which the package is unpacked as npm would, with just the packages beside it that it asks for. */
function newProject(): { directory: string; run: (command: string, ...args: string[]) => string } {
  const directory = mkdtempSync(join(tmpdir(), "durable-channels-package-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const run = (command: string, ...args: string[]) => execFileSync(command, args, { cwd: directory, encoding: "utf8" });
  const home = join(directory, "node_modules/durable-channels");
  mkdirSync(home, { recursive: true });
  execFileSync("npm", ["pack", "--silent", "--pack-destination", directory], { encoding: "utf8" });
  run("sh", "-c", "tar -xzf *.tgz -C node_modules/durable-channels --strip-components 1");
  const { dependencies } = JSON.parse(readFileSync(join(home, "package.json"), "utf8")) as { dependencies: object };
  for (const name of [...Object.keys(dependencies), "react", "@types/react"]) link(directory, name);
  writeFileSync(join(directory, "package.json"), '{"type":"module"}');
  return { directory, run };
}

function link(directory: string, name: string): void {
  const to = join(directory, "node_modules", name);
  mkdirSync(dirname(to), { recursive: true });
  symlinkSync(resolve("node_modules", name), to);
}

const PROGRAM = `
import { ChannelError, createClient, type Message } from "durable-channels/client";
import { useChannel } from "durable-channels/react";

const room = createClient({ url: process.argv[2]! }).channel<{ text: string }>(process.argv[3]!);
const heard = new Promise<Message<{ text: string }>>((resolve) => room.on("event", resolve));
await new Promise<void>((resolve) => room.on("status", (status) => status === "online" && resolve()));
const { seq } = await room.publish({ text: "from an app of its own" });
const { payload } = await heard;
// @ts-expect-error The payload's type is known.
payload.txt;
console.log(JSON.stringify({ seq, text: payload.text, hook: typeof useChannel, error: ChannelError.name }));
room.close();
`;

it("the package, packed and unpacked in an empty project, is imported and used by Node, and checked by TypeScript", async () => {
  const { directory, run } = newProject();
  writeFileSync(join(directory, "app.ts"), PROGRAM);
  const tsc = resolve("node_modules/.bin/tsc");
  link(directory, "@types/node");
  for (const resolution of ["nodenext", "bundler"]) {
    const strict = ["--strict", "--noEmit", "--target", "es2022", "--lib", "es2024,dom", "--types", "node"];
    run(
      tsc,
      ...strict,
      "--module",
      resolution === "bundler" ? "esnext" : resolution,
      "--moduleResolution",
      resolution,
      "app.ts",
    );
  }
  const said = run("node", "app.ts", target().url, await newRoom(target()));
  expect(JSON.parse(said)).toEqual({ seq: 1, text: "from an app of its own", hook: "function", error: "ChannelError" });
});
