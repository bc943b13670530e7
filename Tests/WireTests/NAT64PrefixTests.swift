// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@Suite struct NAT64PrefixTests {
    /// RFC 6052 section 2.4: 192.0.2.33 after each prefix.
    private static let examples = [
        ("2001:db8::", 32, "2001:db8:c000:221::"), ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
        ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"), ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::", 96, "2001:db8:122:344::c000:221"),
    ]

    @Test(arguments: examples) func addressesAndNetworksAreEmbedded(
        base: String, length: Int, text: String
    ) throws {
        let network = IPv6Network(containing: try #require(IPv6Address(base)), prefixLength: length)
        let prefix = try #require(NAT64Prefix(network))
        let address = try #require(IPv6Address(text)), four = IPv4Address("192.0.2.33")!
        #expect(prefix.destination(of: address) == four)
        #expect(prefix.destination(of: IPv6Address("2001:db9::")!) == nil)
        #expect(prefix.hasReservedByte == (length < 96))
        for bits in 0...32 {
            let network = IPv4Network(containing: four, prefixLength: bits)
            let embedded = prefix.network(embedding: network)
            #expect(embedded.contains(address), "\(bits) bits: \(embedded)")
            #expect(prefix.destination(of: embedded.base) == network.base, "\(bits) bits: \(embedded)")
            // An IPv4 address that differs in the last bit of the network is outside.
            guard bits > 0 else { continue }
            let other = IPv4Network(
                containing: IPv4Address(four.value ^ 1 << UInt32(32 - bits)), prefixLength: bits)
            #expect(!embedded.contains(prefix.network(embedding: other).base), "\(bits) bits: \(embedded)")
        }
        #expect(prefix.network(embedding: IPv4Network(containing: four, prefixLength: 0)) == prefix.network)
    }
}
