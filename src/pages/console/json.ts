import { parse, type ParseError, printParseErrorCode } from "jsonc-parser";
import { parseJson } from "../../protocol/json.ts";

/** An error in a JSON text, and its position. */
export interface Mistake {
  reason: string;
  /** The error's position, in UTF-16 units from the start. Undefined if the error is about the whole text. */
  offset?: number;
  line?: number;
  column?: number;
}

/** Returns why the server would refuse a JSON text, or undefined if it would accept it. */
export function mistakeIn(text: string): Mistake | undefined {
  const parsed = parseJson(text);
  if (parsed.ok) return undefined;
  const { code, detail } = parsed.fault;
  return (code === "invalid-json" ? syntaxErrorIn(text) : undefined) ?? { reason: detail };
}

/** Returns the first syntax error. Not every browser's `JSON.parse` reports a position, and each words its errors differently. */
function syntaxErrorIn(text: string): Mistake | undefined {
  const errors: ParseError[] = [];
  parse(text, errors, { disallowComments: true, allowTrailingComma: false, allowEmptyContent: false });
  const [first] = errors;
  if (!first) return undefined;
  const before = text.slice(0, first.offset).split("\n");
  const reason = printParseErrorCode(first.error).replaceAll(
    /(?<=[a-z])[A-Z]/g,
    (letter) => ` ${letter.toLowerCase()}`,
  );
  return { reason, offset: first.offset, line: before.length, column: (before.at(-1) ?? "").length + 1 };
}
