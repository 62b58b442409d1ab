/** How large a message is, and what it is made of. */
export type Size = "small" | "quotes" | "multibyte" | "large";

/** Each text grows in its own way: by escaping it in JSON, or by encoding it in UTF-8. */
const TEXTS: Record<Size, string> = {
  small: "hello",
  quotes: `"\\`.repeat(4_000),
  multibyte: "né 漢字 👩‍🚀 ".repeat(700),
  large: "0123456789abcdef".repeat(3_900),
};

/** A message of a schedule. No two have the same id. */
export interface Content {
  id: string;
  text: string;
}

export function contentOf(id: string, size: Size): Content {
  return { id, text: TEXTS[size] };
}

/** As much as a token may carry (4,096 characters of JSON), nearly all of it characters that JSON escapes. */
export const LARGE_EXTRAS = { name: "ann", note: `"`.repeat(2_030) };
