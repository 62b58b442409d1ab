import { MAX_BODY_BYTES, MAX_JSON_DEPTH } from "./limits.ts";
import { type Fault, refuse, type Result } from "./errors.ts";
import { utf8Length } from "./utf8.ts";

/**
 * Parses text from a stranger within the bounds on bytes and depth.
 *
 * What it accepts comes back from `JSON.stringify` as the same JSON value. So a number beyond a double's range is
 * refused (`1e999` would silently become `null`). Of duplicate keys the last one counts, as in every JSON.parse, and
 * a lone surrogate is kept, as the `\udXXX` escape that JSON.stringify writes for it.
 */
export function parseJson(text: string, maxBytes = MAX_BODY_BYTES): Result<unknown> {
  if (isLongerThan(text, maxBytes)) return tooLarge(maxBytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return refuse("invalid-json", (error as SyntaxError).message);
  }
  return jsonFault(value) ?? { ok: true, value };
}

/** Returns the refusal of a parsed value that is nested too deeply or holds a number too large, undefined if it is neither. */
export function jsonFault(value: unknown): { ok: false; fault: Fault } | undefined {
  return inspect(value, MAX_JSON_DEPTH);
}

/**
 * Writes a message as the JSON that is stored and sent. It may be longer than the text that it was parsed from: `1e20` becomes
 * `100000000000000000000`. So the limit holds for it, too.
 *
 * @param field What the message is called where it is too large.
 */
export function messageText(message: unknown, field: string): Result<string> {
  const text = JSON.stringify(message);
  return isLongerThan(text, MAX_BODY_BYTES) ? tooLarge(MAX_BODY_BYTES, { field }) : { ok: true, value: text };
}

/** @param limit In bytes. */
export function tooLarge(limit: number, more: { field?: string } = {}): { ok: false; fault: Fault } {
  return refuse("too-large", `At most ${limit} bytes are accepted.`, { limit, ...more });
}

function inspect(value: unknown, levels: number): { ok: false; fault: Fault } | undefined {
  if (typeof value === "number" && !Number.isFinite(value)) {
    return refuse("invalid-number", "Numbers must fit into an IEEE 754 double (RFC 8259, section 6).");
  }
  if (typeof value !== "object" || value === null) return undefined;
  if (levels === 0) {
    return refuse("too-deep", `At most ${MAX_JSON_DEPTH} levels of arrays and objects are accepted.`, {
      limit: MAX_JSON_DEPTH,
    });
  }
  for (const child of Object.values(value)) {
    const fault = inspect(child, levels - 1);
    if (fault) return fault;
  }
  return undefined;
}

/** Whether a text has more bytes in UTF-8: one to three for each UTF-16 unit, so most need no counting. */
export function isLongerThan(text: string, bytes: number): boolean {
  if (text.length > bytes) return true;
  return text.length * 3 > bytes && utf8Length(text) > bytes;
}
