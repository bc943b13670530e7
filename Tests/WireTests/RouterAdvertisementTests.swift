// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct RouterAdvertisementTests {
    private var full: RouterAdvertisement {
        var made = RouterAdvertisement(hardware: MACAddress("52:54:00:00:00:01")!)
        made.isManaged = true
        made.hasOtherInformation = true
        made.routerLifetime = 1800
        made.mtu = 1400
        made.prefix = 0xfd12_3456_789a_0001
        made.validLifetime = 5400
        made.preferredLifetime = 2700
        made.nameServers = [IPv6Address("fd12::1")!, IPv6Address("fd12::2")!]
        made.searchDomains = ["vm.internal", "example.org"].map { DNSName($0)! }
        made.namesLifetime = 1800
        made.nat64 = NAT64Prefix(IPv6Network(containing: IPv6Address("64:ff9b::")!, prefixLength: 96))
        made.nat64Lifetime = 1800
        return made
    }

    private func message(_ made: RouterAdvertisement) -> [UInt8] {
        [ICMPv6Type.routerAdvertisement, 0, 0, 0] + made.body
    }

    @Test func parsesWhatItWrites() throws {
        #expect(try RouterAdvertisement(parsing: message(full).rawSpan) == full)
        let least = RouterAdvertisement(hardware: MACAddress("52:54:00:00:00:01")!)
        #expect(try RouterAdvertisement(parsing: message(least).rawSpan) == least)
        #expect(message(full).count % 8 == 0)
    }

    /// RFC 8781 section 4: the lifetime in steps of 8 s, the length's code, the first 96 bits.
    @Test func prefixOfNAT64HasItsForm() throws {
        for (code, length) in NAT64Prefix.lengths.enumerated() {
            var made = RouterAdvertisement(hardware: MACAddress("52:54:00:00:00:01")!)
            made.nat64 = NAT64Prefix(
                IPv6Network(containing: IPv6Address("2001:db8:122:344:55:66:7788:99aa")!, prefixLength: length))
            made.nat64Lifetime = 1800
            let option = Array(made.body.suffix(16)), base = try #require(made.nat64).network.base
            #expect(option == [38, 2, 0x07, UInt8(0x08 | code)] + base.bytes.prefix(12))
            #expect(try RouterAdvertisement(parsing: message(made).rawSpan) == made)
        }
        #expect(NAT64Prefix(IPv6Network(containing: .loopback, prefixLength: 80)) == nil)
        // A code without a length.
        var unknown = message(full)
        unknown[unknown.count - 13] |= 7
        #expect(try RouterAdvertisement(parsing: unknown.rawSpan).nat64 == nil)
    }

    /// The examples of RFC 6052 section 2.4, with the addresses of ipv4only.arpa.
    @Test(
        arguments: [
            ("2001:db8:c000:aa::", "2001:db8::/32"), ("2001:db8:1c0:0:aa::", "2001:db8:100::/40"),
            ("2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"), ("2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"),
            ("2001:db8:122:344:c0:0:ab00:0", "2001:db8:122:344::/64"),
            ("2001:db8:122:344::192.0.0.171", "2001:db8:122:344::/96"), ("64:ff9b::192.0.0.170", "64:ff9b::/96"),
            ("64:ff9b::192.0.0.172", nil), ("2001:db8::1", nil), ("::", nil),
            // At two places.
            ("2001:db8:c000:aa::192.0.0.170", nil),
        ] as [(String, String?)])
    func prefixOfNAT64IsFoundInAddress(address: String, prefix: String?) throws {
        #expect(NAT64Prefix(synthesized: try #require(IPv6Address(address)))?.description == prefix)
    }

    @Test func truncatedMessageIsRefusedOrShorter() throws {
        let whole = message(full)
        for length in 0..<whole.count {
            let parsed = try? RouterAdvertisement(parsing: Array(whole[..<length]).rawSpan)
            #expect(parsed == nil || length % 8 == 0 && parsed != full)
        }
    }

    @Test func randomOptionsAreParsedOrRefused() {
        fuzz(message(full)) { bytes in
            let parsed = try? RouterAdvertisement(parsing: bytes.rawSpan)
            #expect((parsed?.nameServers.count ?? 0) <= bytes.count / 16)
        }
    }
}
