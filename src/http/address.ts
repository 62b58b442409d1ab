/** The characters of an address that limits use. An IPv6 address has at most 45, and its zone a few more. */
const MAX_ADDRESS_CHARACTERS = 64;

/**
 * Returns the network that limits count as one address. For an IPv6 address these are its first 64 bits
 * (`2001:db8:0:1::/64`), because a customer has at least a /64. An IPv4 address is returned unchanged, also if it is
 * mapped into IPv6 (`::ffff:192.0.2.1`). Any other text is cut to 64 characters.
 */
export function networkOf(address: string): string {
  const text = address.slice(0, MAX_ADDRESS_CHARACTERS);
  const groups = groupsOf(text.replace(/%.*$/, ""));
  if (!groups) return text;
  const isMapped = groups.slice(0, 6).join(":") === "0:0:0:0:0:ffff";
  if (!isMapped) return `${groups.slice(0, 4).join(":")}::/64`;
  return groups
    .slice(6)
    .flatMap((group) => [Number(`0x${group}`) >> 8, Number(`0x${group}`) & 0xff])
    .join(".");
}

/**
 * Returns the eight groups of an IPv6 address, in lower-case hexadecimal without leading zeros; undefined for other
 * texts.
 */
function groupsOf(address: string): string[] | undefined {
  if (!/^[\da-f:.]*:[\da-f:.]*$/i.test(address)) return undefined;
  const url = URL.parse(`http://[${address}]`);
  if (!url) return undefined;
  const [head = "", tail = ""] = url.hostname.slice(1, -1).split("::");
  const [first, last] = [head, tail].map((part) => part.split(":").filter((group) => group !== ""));
  if (!first || !last) return undefined;
  return [...first, ...Array<string>(8 - first.length - last.length).fill("0"), ...last];
}
