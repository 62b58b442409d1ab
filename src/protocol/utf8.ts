const encoder = new TextEncoder();

/** Returns a text's length in UTF-8, in bytes. */
export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}
