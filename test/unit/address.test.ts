import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Sockets } from "../../src/channel/sockets.ts";
import { networkOf } from "../../src/http/address.ts";
import { MAX_SOCKETS_PER_ADDRESS } from "../../src/protocol/limits.ts";
import { connect, newOpenChannel, request } from "./support.ts";

afterEach(() => vi.restoreAllMocks());

describe("the network that counts as one address", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::", "2001:db8:1:2::/64"],
    ["2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"],
    ["2001:0DB8:0001:0002:0000:0000:0000:0001", "2001:db8:1:2::/64"],
    ["2001:db8:1:3::1", "2001:db8:1:3::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001::2:0:0:0:1", "2001:0:0:2::/64"],
    ["::2:3:4:5:6:7:8", "0:2:3:4::/64"],
    ["1:2:3:4:5:6:7::", "1:2:3:4::/64"],
    ["::", "0:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["FE80::2%25en1", "fe80:0:0:0::/64"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:192.0.2.255", "192.0.2.255"],
    ["::ffff:c000:201", "192.0.2.1"],
    ["0:0:0:0:0:ffff:0:1", "0.0.0.1"],
    ["1::ffff:192.0.2.1", "1:0:0:0::/64"],
    ["", ""],
    ["unknown", "unknown"],
    ["localhost:8787", "localhost:8787"],
    [":", ":"],
    ["1::2::3", "1::2::3"],
    ["12345::1", "12345::1"],
    ["1:2:3:4:5:6:7", "1:2:3:4:5:6:7"],
    ["1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8:9"],
    ["::1]/path[", "::1]/path["],
    ["::ffff:192.0.2.256", "::ffff:192.0.2.256"],
    ["x".repeat(10_000), "x".repeat(64)],
    [`::${"0".repeat(10_000)}`, `::${"0".repeat(62)}`],
    [`%${"::1".repeat(100)}`, `%${"::1".repeat(21)}`],
  ])("of %j is %j", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});

describe("limits per address", () => {
  it("count all requests of an IPv6 /64 as one address (LIM7)", async () => {
    const statusFor = async (address: string) =>
      (await request("/health", { headers: { "CF-Connecting-IP": address } })).status;
    // A period of the limit may end in between; the next one is used up as well.
    const useUp = () =>
      Promise.all(Array.from({ length: 500 }, () => env.RATE_LIMITER.limit({ key: "2001:db8:7:1::/64" })));
    for (const address of ["2001:db8:7:1::1", "2001:DB8:7:1:ffff::2"]) {
      await vi.waitUntil(async () => (await useUp(), (await statusFor(address)) === 429), { timeout: 30_000 });
    }
    expect(await statusFor("2001:db8:7:2::1")).toBe(200);
  });

  it("count all sockets of an IPv6 /64 as one address, and a mapped IPv4 address as the IPv4 address (LIM8)", async () => {
    const channel = await newOpenChannel();
    const from = (address: string) => connect(channel, { "CF-Connecting-IP": address });
    const full = new Set(["address:2001:db8:8:1::/64", "address:192.0.2.8"]);
    vi.spyOn(Sockets.prototype, "count").mockImplementation((group = "") =>
      full.has(group) ? MAX_SOCKETS_PER_ADDRESS : 0,
    );
    for (const address of ["2001:db8:8:1::1", "2001:DB8:8:1::ffff", "192.0.2.8", "::ffff:192.0.2.8"]) {
      await expect(from(address)).rejects.toThrow(/^503 .*too-many-sockets/);
    }
    for (const address of ["2001:db8:8:2::1", "192.0.2.9"]) await from(address);
  });
});
