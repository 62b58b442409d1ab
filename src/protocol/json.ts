import { MAX_BODY_BYTES, MAX_JSON_DEPTH } from "./limits.ts";
import { type Fault, refuse, type Result } from "./errors.ts";
import { utf8Length } from "./utf8.ts";

/**
 * Parses JSON text from a client, within the limits on bytes and depth.
 *
 * `JSON.stringify` writes an accepted value as the same JSON value. So a number outside a double's range is refused,
 * because `1e999` would become `null`. The last one of duplicate keys counts, as in every JSON.parse. A lone surrogate
 * is kept, as the escape `\\udXXX` that JSON.stringify writes.
 */
export function parseJson(text: string, maxBytes = MAX_BODY_BYTES): Result<unknown> {
  const parsed = parseText(text, maxBytes);
  return parsed.ok ? (jsonFault(parsed.value) ?? parsed) : parsed;
}

/** The same, without the limit on depth and the check of numbers. */
export function parseText(text: string, maxBytes: number): Result<unknown> {
  if (isLongerThan(text, maxBytes)) return tooLarge(maxBytes);
  try {
    return { ok: true, value: JSON.parse(text) as unknown };
  } catch (error) {
    return refuse("invalid-json", (error as SyntaxError).message);
  }
}

/**
 * Returns the refusal of a parsed value that is nested too deeply or contains a number that is too large; undefined if
 * the value is accepted.
 */
export function jsonFault(value: unknown): { ok: false; fault: Fault } | undefined {
  return inspect(value, MAX_JSON_DEPTH);
}

/**
 * Returns a message as the JSON that is stored and sent, or a refusal if it is too large. It may be longer than the
 * text that was received: `1e20` becomes `100000000000000000000`.
 *
 * @param field The name of the message in a refusal.
 */
export function messageText(message: unknown, field: string): Result<string> {
  const text = JSON.stringify(message);
  return isLongerThan(text, MAX_BODY_BYTES) ? tooLarge(MAX_BODY_BYTES, { field }) : { ok: true, value: text };
}

/** @param limit In bytes. */
export function tooLarge(limit: number, more: { field?: string } = {}): { ok: false; fault: Fault } {
  return refuse(
    "too-large",
    `${more.field ?? "A body or frame"} may have at most ${limit} bytes. Send less, or split it.`,
    { limit, ...more },
  );
}

function inspect(value: unknown, levels: number): { ok: false; fault: Fault } | undefined {
  if (typeof value === "number" && !Number.isFinite(value)) {
    return refuse(
      "invalid-number",
      "A number does not fit into an IEEE 754 double, whose largest value is about 1.8e308. Send it as a string.",
    );
  }
  if (typeof value !== "object" || value === null) return undefined;
  if (levels === 0) {
    return refuse(
      "too-deep",
      `JSON may be nested at most ${MAX_JSON_DEPTH} levels deep. Flatten it, or send it as a string.`,
      {
        limit: MAX_JSON_DEPTH,
      },
    );
  }
  for (const child of Object.values(value)) {
    const fault = inspect(child, levels - 1);
    if (fault) return fault;
  }
  return undefined;
}

/**
 * Returns whether a text has more bytes than this in UTF-8. A UTF-16 unit takes one to three bytes, so most texts need
 * no counting.
 */
export function isLongerThan(text: string, bytes: number): boolean {
  if (text.length > bytes) return true;
  return text.length * 3 > bytes && utf8Length(text) > bytes;
}
