import type { JWTPayload } from "jose";

/** What the default audience of each database begins with. */
const PREFIX = "durable-channels:";

/** The `aud` of a database's tokens if its configuration sets no `audience`. */
export function defaultAudienceOf(name: string): string {
  return PREFIX + name;
}

/** Whether an audience is the default one of another database. */
export function isDefaultOfAnother(audience: string, name: string): boolean {
  return audience.startsWith(PREFIX) && audience !== defaultAudienceOf(name);
}

/**
 * Says what is wrong with the `aud` of a token for a database that sets no `audience`; undefined if nothing is.
 *
 * @param sharesKeys Whether another database verifies tokens with one of the same keys.
 */
export function audienceFault({ aud }: JWTPayload, name: string, sharesKeys: boolean): string | undefined {
  const own = defaultAudienceOf(name);
  const audiences: unknown[] = Array.isArray(aud) ? aud : [aud];
  if (audiences.includes(own)) return undefined;
  if (sharesKeys) {
    return `The token's aud must be ${own}, because another auth database has the same key. Make tokens with that aud, configure an audience for ${name}, or give ${name} a key of its own.`;
  }
  const isForAnother = audiences.some((each) => typeof each === "string" && isDefaultOfAnother(each, name));
  return isForAnother ? `The token's aud is another auth database; this one is ${own}.` : undefined;
}
