import { readFileSync } from "node:fs";

/** docs/client.md, whose examples the tests run. */
const PAGE = readFileSync("docs/client.md", "utf8");

/** The page's code blocks in a language, in their order. */
export function blocksOf(language: string): string[] {
  const blocks = PAGE.matchAll(new RegExp(`^\`{3}${language}\\n(.*?)^\`{3}$`, "gms"));
  return [...blocks].map(([, code = ""]) => code);
}

/** The React files of the page: the text of each by its path, which is the first line's comment. */
export function reactFiles(): Record<string, string> {
  return Object.fromEntries(blocksOf("tsx").map((code) => [/^\/\/ (\S+)\n/.exec(code)?.[1] ?? "unnamed", code]));
}
