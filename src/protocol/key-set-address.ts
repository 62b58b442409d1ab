/** Names that only a private network resolves, or that mean the machine itself. */
const PRIVATE_NAME = /(?:^|\.)(?:localhost|local|internal)$/;
/** `URL` writes each spelling of an IPv4 address as four decimal numbers, and puts an IPv6 address in brackets. */
const IP_ADDRESS = /^(?:\[.*\]|[\d.]+)$/;

export const KEY_SET_ADDRESS_RULE =
  "must be an https: address with a public host name, without credentials, fragment or IP address";

/**
 * Whether a key set may be fetched from here. Names are not resolved. An address on `localhost` passes here; the server
 * takes it only if it runs there itself.
 */
export function isKeySetAddress(text: string): boolean {
  const url = URL.parse(text);
  if (!url || url.username !== "" || url.password !== "" || url.href.includes("#")) return false;
  if (isLocal(url)) return url.protocol === "https:" || url.protocol === "http:";
  const host = url.hostname.replace(/\.$/, "");
  return url.protocol === "https:" && !PRIVATE_NAME.test(host) && !IP_ADDRESS.test(host);
}

/** Whether an address is one of the machine itself, by the name that development uses. */
export function isLocal({ hostname }: URL): boolean {
  return hostname === "localhost";
}
