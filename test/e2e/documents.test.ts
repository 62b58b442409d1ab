import { globSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { claimsIn, documents, faultsOf, parse } from "../support/documents.ts";

const pages = documents().map((document) => parse(document, readFileSync(document, "utf8")));
const blocks = pages.flatMap((page) => page.blocks);
const claims = globSync("{,packages/*/}test/{e2e,browser}/*.test.ts").flatMap((test) =>
  claimsIn(test, readFileSync(test, "utf8")),
);

describe("every fenced block in the documents", () => {
  it("is verified by a test, or says right above it why it is not run", () => {
    expect(blocks.length).toBeGreaterThan(40);
    expect(faultsOf(blocks, claims)).toEqual([]);
  });

  it("has its own reason, and no reason is left without a block", () => {
    expect(
      pages.flatMap(({ strayReasons }, index) => strayReasons.map((line) => `${documents()[index]}:${line}`)),
    ).toEqual([]);
  });
});

describe("this inventory", () => {
  const page = (...lines: string[]) => parse("page.md", lines.join("\n"));
  const claim = { test: "a.test.ts", document: "page.md", language: "sh" };

  it("notices a block in a language that no test takes, also in a list, in a quotation, with tildes, or without a language", () => {
    const added = page(
      "```sh",
      "true",
      "```",
      "- item",
      "  ```js",
      "  1",
      "  ```",
      "> ```sql",
      "> 1",
      "> ```",
      "~~~toml",
      "~~~",
      "```",
      "```",
    );
    expect(faultsOf(added.blocks, [claim])).toEqual([
      "page.md:5: no test takes this js block",
      "page.md:8: no test takes this sql block",
      "page.md:11: no test takes this toml block",
      "page.md:13: no test takes this unnamed block",
    ]);
  });

  it("accepts a reason right above a block, and for that block only", () => {
    const { blocks: found, strayReasons } = page(
      "<!-- not run: needs an account -->",
      "",
      "```js",
      "```",
      "",
      "```js",
      "```",
    );
    expect(strayReasons).toEqual([]);
    expect(faultsOf(found, [])).toEqual(["page.md:6: no test takes this js block"]);
  });

  it.each([
    ["whose block is gone", "<!-- not run: needs an account -->"],
    ["that is away from its block", "<!-- not run: needs an account -->\n\ntext\n\n```js\n```"],
    ["that says nothing", "<!-- not run -->\n```js\n```"],
  ])("notices a reason %s", (_, text) => {
    expect(page(text).strayReasons).toEqual([1]);
  });

  it("notices a claim that no block is left for", () => {
    expect(faultsOf([], [claim])).toEqual(["a.test.ts: page.md has no sh block to run"]);
  });

  it("takes the indent of a list away from a block's lines, and keeps the rest", () => {
    expect(page("- item", "  ```json", "  {", '    "a": 1', "  }", "  ```").blocks[0]?.code).toBe('{\n  "a": 1\n}');
  });
});
