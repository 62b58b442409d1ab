import type { JWTPayload } from "jose";

/** The prefix of every default audience. */
const PREFIX = "durable-channels:";

/** Returns the `aud` of a database's tokens if its configuration has no `audience`. */
export function defaultAudienceOf(name: string): string {
  return PREFIX + name;
}

/** Returns whether an audience is the default audience of another database. */
export function isDefaultOfAnother(audience: string, name: string): boolean {
  return audience.startsWith(PREFIX) && audience !== defaultAudienceOf(name);
}

/**
 * Checks the `aud` of a token for a database that has no `audience`.
 *
 * @param sharesKeys Whether another database verifies tokens with one of the same keys.
 * @returns The error text, undefined if the `aud` is accepted.
 */
export function audienceFault({ aud }: JWTPayload, name: string, sharesKeys: boolean): string | undefined {
  const own = defaultAudienceOf(name);
  const audiences: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (audiences.includes(own)) return undefined;
  if (sharesKeys) {
    return `The token's aud must be ${own}, because another auth database has the same key. Make tokens with that aud, configure an audience for ${name}, or give ${name} a key of its own.`;
  }
  const isForAnother = audiences.some((each) => typeof each === "string" && isDefaultOfAnother(each, name));
  return isForAnother ? `The token's aud names another auth database. For ${name} it must be ${own}.` : undefined;
}
