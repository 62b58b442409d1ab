import { globSync, readFileSync } from "node:fs";

/** A fenced block of a document. */
export interface Block {
  document: string;
  /** The line of its opening fence, from 1. */
  line: number;
  /** What follows the fence: `sh`, `json`, … */
  language: string;
  code: string;
  /** Why no test runs it: a comment right above it, `<!-- not run: … -->`, says so. */
  reason: string | undefined;
}

/** A test file that takes all blocks of a language in a document. */
export interface Claim {
  test: string;
  document: string;
  language: string;
}

const FENCE = /^([\s>]*)(`{3,}|~{3,})\s*(.*?)\s*$/;
const COMMENT = /<!--\s*not run/;
const REASON = /^\s*<!-- not run: (\S.*) -->$/;

/** Returns a document's blocks in order, and the lines of reasons that have no block right below them. */
export function parse(document: string, text: string): { blocks: Block[]; strayReasons: number[] } {
  const lines = text.split("\n");
  const blocks: Block[] = [];
  const strayReasons: number[] = [];
  for (let at = 0; at < lines.length; at++) {
    if (COMMENT.test(lines[at] ?? "") && !isAboveBlock(lines, at)) strayReasons.push(at + 1);
    const [, indent = "", fence, language = ""] = FENCE.exec(lines[at] ?? "") ?? [];
    if (fence === undefined) continue;
    const start = at + 1;
    do at++;
    while (at < lines.length && !closes(lines[at] ?? "", fence));
    const code = lines.slice(start, at).map((line) => line.slice(Math.min(indent.length, line.search(/\S|$/))));
    blocks.push({ document, line: start, language, code: code.join("\n"), reason: reasonAbove(lines, start - 1) });
  }
  return { blocks, strayReasons };
}

function closes(line: string, fence: string): boolean {
  const [, , other, rest] = FENCE.exec(line) ?? [];
  return other === fence && rest === "";
}

function isAboveBlock(lines: string[], at: number): boolean {
  const below = lines[at + 1] === "" ? lines[at + 2] : lines[at + 1];
  return REASON.test(lines[at] ?? "") && FENCE.test(below ?? "");
}

function reasonAbove(lines: string[], fence: number): string | undefined {
  const above = lines[fence - 1] === "" ? lines[fence - 2] : lines[fence - 1];
  return REASON.exec(above ?? "")?.[1];
}

/** Every page for readers. */
export const documents = (): string[] => globSync(["*.md", "docs/**/*.md", "packages/*/*.md"]).toSorted();

/** All blocks of a document, those that are not run included. */
export const allBlocksOf = (document: string): Block[] => parse(document, readFileSync(document, "utf8")).blocks;

/**
 * Returns the blocks of a document in a language. A test that calls it must verify each of them, however many there are: the
 * call, with both names written out, is what test/e2e/documents.test.ts counts as the claim.
 */
export function blocksOf(document: string, language: string): Block[] {
  return allBlocksOf(document).filter((block) => block.language === language && block.reason === undefined);
}

/** The same, of which there must be just one. */
export function onlyBlockOf(document: string, language: string): Block {
  const [block, ...others] = blocksOf(document, language);
  if (block === undefined || others.length > 0) {
    throw new Error(`${document} must have one block in ${language}, and has ${others.length + (block ? 1 : 0)}`);
  }
  return block;
}

/** The blocks that name a file in a comment on their first line: the text of each by its path. */
export function filesOf(blocks: Block[]): Record<string, string> {
  return Object.fromEntries(
    blocks.flatMap(({ code }) => {
      const path = /^\/\/ (\S+)\n/.exec(code)?.[1];
      return path === undefined ? [] : [[path, code]];
    }),
  );
}

/** The claims in the source of a test. */
export function claimsIn(test: string, source: string): Claim[] {
  const calls = source.matchAll(/\b(?:blocksOf|onlyBlockOf)\("([^"]+)", "([^"]*)"\)/g);
  return [...calls].map(([, document = "", language = ""]) => ({ test, document, language }));
}

/** Returns what is wrong, in words: blocks that no test takes, and claims that no block is left for. */
export function faultsOf(blocks: Block[], claims: Claim[]): string[] {
  const keyOf = ({ document, language }: { document: string; language: string }) => `${document} ${language}`;
  const claimed = new Set(claims.map(keyOf));
  const needed = blocks.filter(({ reason }) => reason === undefined);
  const there = new Set(needed.map(keyOf));
  return [
    ...needed
      .filter((block) => !claimed.has(keyOf(block)))
      .map(({ document, line, language }) => `${document}:${line}: no test takes this ${language || "unnamed"} block`),
    ...claims
      .filter((claim) => !there.has(keyOf(claim)))
      .map(({ test, document, language }) => `${test}: ${document} has no ${language || "unnamed"} block to run`),
  ];
}
