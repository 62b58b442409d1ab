import { globSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const RULE = /\b(?:CHA|ORD|PUB|EVT|IDM|HIS|STA|CON|JOI|RES|FRA|MUX|PRE|ERR|LIM|AUT|SRV|SET)\d+\b/g;

/** The rules that PROTOCOL.md states, by their numbers. */
const stated = new Set(
  readFileSync("PROTOCOL.md", "utf8")
    .matchAll(/^- \*\*([A-Z]{3}\d+)\*\*/gm)
    .map(([, rule = ""]) => rule),
);

function citedIn(pattern: string): Set<string> {
  const texts = globSync(pattern).map((file) => readFileSync(file, "utf8"));
  // `LIM1-3` cites three rules.
  const ranges = texts.flatMap((text) => [...text.matchAll(/\b([A-Z]{3})(\d)-(\d)\b/g)]);
  const expanded = ranges.flatMap(([, letters, first, last]) =>
    Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) => `${letters}${Number(first) + index}`),
  );
  return new Set([...texts.flatMap((text) => text.match(RULE) ?? []), ...expanded]);
}

it("each rule of PROTOCOL.md is cited by a test", () => {
  const cited = citedIn("test/**/*.ts");
  expect([...stated].filter((rule) => !cited.has(rule))).toEqual([]);
});

it.each(["test/**/*.ts", "src/**/*.{ts,tsx}", "docs/**/*.md", "*.md"])(
  "each rule that %s cites is stated in PROTOCOL.md",
  (pattern) => {
    expect([...citedIn(pattern)].filter((rule) => !stated.has(rule))).toEqual([]);
  },
);
