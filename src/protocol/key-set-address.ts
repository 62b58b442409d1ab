/** Names that only a private network resolves, or that mean the machine itself. */
const PRIVATE_NAME = /(?:^|\.)(?:localhost|local|internal)$/;
/** `URL` writes each spelling of an IPv4 address as four decimal numbers, and puts an IPv6 address in brackets. */
const IP_ADDRESS = /^(?:\[.*\]|[\d.]+)$/;

export const KEY_SET_ADDRESS_RULE =
  "must be an https: address with a public host name, without credentials, fragment or IP address";

/**
 * Returns whether a key set may be fetched from an address. Does not resolve names. Accepts addresses on `localhost`;
 * http/databases.ts accepts those only if the server itself runs there.
 */
export function isKeySetAddress(text: string): boolean {
  const url = URL.parse(text);
  if (!url || url.username !== "" || url.password !== "" || url.href.includes("#")) return false;
  if (isLocal(url)) return url.protocol === "https:" || url.protocol === "http:";
  const host = url.hostname.replace(/\.$/, "");
  return url.protocol === "https:" && !PRIVATE_NAME.test(host) && !IP_ADDRESS.test(host);
}

/** Returns whether an address is on the machine itself. */
export function isLocal({ hostname }: URL): boolean {
  return hostname === "localhost";
}
