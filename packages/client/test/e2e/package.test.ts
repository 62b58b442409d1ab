import { execFile } from "node:child_process";
import {
  appendFileSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { blocksOf, filesOf, onlyBlockOf } from "../../../../test/support/documents.ts";
import { serve } from "../../../../test/support/serve.ts";
import { newChannel, newRoom, target, tokenFor } from "../../../../test/e2e/support.ts";

const STRICT = [
  "--strict",
  "--noEmit",
  "--target",
  "es2022",
  "--lib",
  "es2024,dom",
  "--types",
  "node",
  "--jsx",
  "react-jsx",
];

/** A project into which the package is unpacked as npm would, with just the packages beside it that it asks for. */
let project: string;

beforeAll(async () => {
  project = mkdtempSync(join(tmpdir(), "durable-channels-package-"));
  const home = join(project, "node_modules/durable-channels-client");
  mkdirSync(home, { recursive: true });
  await promisify(execFile)("npm", [
    "pack",
    "--silent",
    "--workspace",
    "durable-channels-client",
    "--pack-destination",
    project,
  ]);
  await run("sh", "-c", "tar -xzf *.tgz -C node_modules/durable-channels-client --strip-components 1");
  // What the project itself uses comes on top.
  const own = ["react", "@types/react", "@types/node", "valibot", "ws"];
  for (const name of new Set([...dependencies(), ...own])) link(name);
  writeFileSync(join(project, "package.json"), '{"type":"module"}');
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

/** What the package brings along. */
function dependencies(): string[] {
  const manifest = readFileSync(join(project, "node_modules/durable-channels-client/package.json"), "utf8");
  return Object.keys((JSON.parse(manifest) as { dependencies: object }).dependencies);
}

function link(name: string): void {
  const to = join(project, "node_modules", name);
  mkdirSync(dirname(to), { recursive: true });
  symlinkSync(resolve("node_modules", name), to);
}

/** Runs a command in the project. Returns its output, and throws if it fails. */
async function run(command: string, ...args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)(command, args, { cwd: project })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** The examples of docs/guides/client.md as one program, and its React files. */
const EXAMPLES = blocksOf("docs/guides/client.md", "ts")
  .map(({ code }) => code)
  .join("\n");
const REACT_FILES = Object.entries(filesOf(blocksOf("docs/guides/client.md", "tsx")));

/** Changes a line that logs a value and shows it in a comment, so that it fails if it logs another value. */
const CHECKED = `
import { format } from "node:util";
const owed = new Set<string>();
process.on("exit", (code) => {
  if (code === 0 && owed.size > 0) throw new Error("never logged: " + [...owed].join("; "));
});
function logged(line: string, ...values: unknown[]) {
  owed.delete(line);
  const said = format(...values);
  if (!line.split(" and then ").includes(said)) throw new Error("logged " + said + " where the page has " + line);
}
`;

function checked(program: string): string {
  const lines: string[] = [];
  const body = program.replace(
    /^(.*)console\.log\((.*;) \/\/ (.*)$/gm,
    (_, before: string, rest: string, says: string) => {
      lines.push(says);
      return `${before}logged(${JSON.stringify(says)}, ${rest}`;
    },
  );
  expect(lines.length).toBeGreaterThan(5);
  return `${CHECKED}for (const line of ${JSON.stringify(lines)}) owed.add(line);\n${body}`;
}

describe("the package, packed, and unpacked in an empty project", () => {
  it.each([
    ["nodenext", "nodenext"],
    ["bundler", "esnext"],
  ])("satisfies TypeScript with the examples of docs/guides/client.md (%s)", async (moduleResolution, module) => {
    writeFileSync(join(project, "examples.ts"), EXAMPLES);
    mkdirSync(join(project, "src"), { recursive: true });
    for (const [path, code] of REACT_FILES) writeFileSync(join(project, path), code);
    const how = ["--allowImportingTsExtensions", "--moduleResolution", moduleResolution, "--module", module];
    await run(resolve("node_modules/.bin/tsc"), ...STRICT, ...how, "examples.ts", ...REACT_FILES.map(([path]) => path));
  });

  it("contains no code of the server except the protocol, and imports nothing outside of its own files", () => {
    expect(dependencies()).toEqual(["@standard-schema/spec", "idb-keyval", "partysocket"]);
    const dist = join(project, "node_modules/durable-channels-client/dist");
    const files = globSync("**/*.{js,d.ts}", { cwd: dist }).toSorted();
    expect(files.filter((file) => !/^(packages\/client\/src|src\/protocol)\//.test(file))).toEqual([]);
    const importsOf = (file: string) =>
      [...readFileSync(join(dist, file), "utf8").matchAll(/^(?:import|export) .*from "([^"]+)"/gm)].map(
        ([, path = ""]) => path,
      );
    const packages = new Set(files.flatMap(importsOf).filter((path) => !path.startsWith(".")));
    expect(packages).toEqual(new Set(["@standard-schema/spec", "idb-keyval", "partysocket/ws", "react"]));
    const imported = files.flatMap((file) =>
      importsOf(file)
        .filter((path) => path.startsWith("."))
        .map((path) => relative(dist, resolve(dist, dirname(file), path))),
    );
    expect(imported).toContain("src/protocol/heartbeat.js");
    // A declaration may name the source or the built file: TypeScript finds the declaration beside both.
    expect(imported.filter((path) => !files.includes(path.replace(/\.ts$/, ".js")))).toEqual([]);
  });

  it("runs the example of its README", async () => {
    const program = onlyBlockOf("packages/client/README.md", "ts").code;
    writeFileSync(
      join(project, "readme.ts"),
      program
        .replace("https://channels.example.com", target().url)
        .replace('"lobby"', JSON.stringify(await newRoom(target()))),
    );
    await run(resolve("node_modules/.bin/tsc"), ...STRICT, "--module", "nodenext", "readme.ts");
    // The server may deliver the message after its answer.
    const end = "const ending = setInterval(() => room.seq === 1 && (room.close(), clearInterval(ending)), 5);";
    appendFileSync(join(project, "readme.ts"), end);
    const said = await run(resolve("node_modules/.bin/node"), "readme.ts");
    expect(said).toContain("message { text: 'On my way.' }");
    expect(said).toContain("stored at 1");
  });

  it("types payloads", async () => {
    const program = `
      import { createClient } from "durable-channels-client";
      const room = createClient().channel<{ text: string }>("room");
      room.on("event", ({ payload }) => payload.text.length);
      // @ts-expect-error There is no such field.
      room.on("event", ({ payload }) => payload.txt);
      // @ts-expect-error Nor is it sent.
      void room.publish({ txt: "" });
    `;
    writeFileSync(join(project, "types.ts"), program);
    await run(resolve("node_modules/.bin/tsc"), ...STRICT, "--module", "nodenext", "types.ts");
  });

  it("works in Node as docs/guides/client.md says, and lets the process end once everything is closed", async () => {
    const { channel, token } = await tokenFor(target(), newChannel(), 42);
    const issuer = await serve((_, response) => response.end(token));
    const program = checked(EXAMPLES)
      .replaceAll("http://localhost:8787", target().url)
      .replaceAll("https://your.app", issuer)
      .replaceAll('process.env["API_KEY"] ?? ""', JSON.stringify(target().apiKey))
      .replaceAll('"news"', JSON.stringify(newChannel()))
      .replaceAll('"lobby"', JSON.stringify(await newRoom(target())))
      .replaceAll('"members"', JSON.stringify(channel));
    writeFileSync(join(project, "program.ts"), program);
    const said = await run(resolve("node_modules/.bin/node"), "program.ts");
    for (const line of [
      "event { text: 'Avengers, assemble!' }",
      "message { text: 'On my way.' } true",
      "private psst true",
    ]) {
      expect(said).toContain(line);
    }
  });

  it.each([
    ["react", "useChannel"],
    ["publisher", "createPublisher"],
    ["outbox", "indexedDbOutbox"],
  ])("contains the entry point %s, which exports %s", async (entry, name) => {
    const program = `console.log(typeof (await import("durable-channels-client/${entry}")).${name});`;
    writeFileSync(join(project, "entry.js"), program);
    expect(await run(resolve("node_modules/.bin/node"), "entry.js")).toBe("function\n");
  });

  it("says what to do in a Node without WebSocket, and then works there", async () => {
    // As Node 20 is: its WebSocket is only there with a flag.
    const node = [resolve("node_modules/.bin/node"), "--no-experimental-websocket"] as const;
    const missing = `
      import { createClient } from "durable-channels-client";
      try {
        createClient({ url: ${JSON.stringify(target().url)} }).channel("lobby");
      } catch ({ message }) {
        console.log(message);
      }
    `;
    writeFileSync(join(project, "missing.js"), missing);
    const said = await run(...node, "missing.js");
    for (const remedy of ["npm install ws", "createClient({ WebSocket })"]) expect(said).toContain(remedy);

    const [, inNode] = blocksOf("docs/guides/client.md", "js");
    const passed = `${inNode?.code}
      const room = channels.channel(${JSON.stringify(await newRoom(target()))});
      console.log((await room.send("hello")).seq);
      room.close();
    `;
    writeFileSync(join(project, "passed.js"), passed.replace("http://localhost:8787", target().url));
    expect(await run(...node, "passed.js")).toBe("1\n");
  });
});
