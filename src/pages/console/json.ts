import { parse, type ParseError, printParseErrorCode } from "jsonc-parser";
import { parseJson } from "../../protocol/json.ts";

/** What is wrong with a JSON text, and where. */
export interface Mistake {
  reason: string;
  /** Where it begins, in characters from the start; undefined where it is the text as a whole. */
  offset?: number;
  line?: number;
  column?: number;
}

/** What the server would refuse in a JSON text, undefined where it would take it. */
export function mistakeIn(text: string): Mistake | undefined {
  const parsed = parseJson(text);
  if (parsed.ok) return undefined;
  const { code, detail } = parsed.fault;
  return (code === "invalid-json" ? syntaxErrorIn(text) : undefined) ?? { reason: detail };
}

/** JSON.parse says where in some browsers only, and in each in its own words. */
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
