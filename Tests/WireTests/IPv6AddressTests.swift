// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

@Suite struct IPv6AddressTests {
    @Test(
        arguments: [
            (0x2001_0db8_0000_0000, 1, "2001:db8::1"), (0, 0, "::"), (0, 1, "::1"),
            (0xfe80_0000_0000_0000, 0, "fe80::"), (0x2001_0000_0000_0001, 0x0000_0000_0000_0001, "2001:0:0:1::1"),
            (0x2001_0db8_0000_0001, 0x0001_0001_0001_0001, "2001:db8:0:1:1:1:1:1"),
            (0x2001_0db8_0000_0000, 0x0001_0000_0000_0001, "2001:db8::1:0:0:1"),
            (0, 0xffff_0102_0304_0005, "::ffff:102:304:5"),
        ] as [(UInt64, UInt64, String)])
    func descriptionHasRecommendedForm(high: UInt64, low: UInt64, text: String) {
        #expect(IPv6Address(high, low).description == text)
        #expect(IPv6Address(text) == IPv6Address(high, low))
    }

    @Test(
        arguments: [
            ("2001:DB8:0:0:0:0:0:1", 0x2001_0db8_0000_0000, 1), ("2001:0db8::0001", 0x2001_0db8_0000_0000, 1),
            ("::192.0.2.1", 0, 0xc000_0201), ("::ffff:192.0.2.1", 0, 0xffff_c000_0201),
            ("64:ff9b::192.0.2.33", 0x0064_ff9b_0000_0000, 0xc000_0221), ("1::", 0x0001_0000_0000_0000, 0),
            ("1:2:3:4:5:6:7::", 0x0001_0002_0003_0004, 0x0005_0006_0007_0000),
            ("1:2:3:4:5:6:192.0.2.1", 0x0001_0002_0003_0004, 0x0005_0006_c000_0201),
        ] as [(String, UInt64, UInt64)])
    func parserAcceptsAllTextForms(text: String, high: UInt64, low: UInt64) {
        #expect(IPv6Address(text) == IPv6Address(high, low))
    }

    @Test(arguments: [
        "", ":", ":::", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "::1:", ":1::", "1:2:3:4:5:6:7:",
        "12345::",
        "g::", "+1::", "-1::", "fd00::-0", "fd00:-0::", " ::1", "::1 ", "fe80::1%eth0", "[::1]", "::1/64", "1.2.3.4",
        "::1.2.3", "::1.2.3.4.5",
        "::256.0.0.1", "1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4::5:6:7:8",
    ])
    func parserRejectsOtherText(text: String) { #expect(IPv6Address(text) == nil) }

    @Test func textFormRoundTrips() {
        var random = SeededGenerator(seed: 17)
        for _ in 0..<20_000 {
            // Groups of zeros are as likely as others.
            func half() -> UInt64 {
                (0..<4).reduce(0) { value, _ in
                    value << 16
                        | (Bool.random(using: &random) ? 0 : UInt64(UInt16.random(in: 0...UInt16.max, using: &random)))
                }
            }
            let address = IPv6Address(half(), half())
            #expect(IPv6Address(address.description) == address)
            #expect(systemParse(address.description) == address.bytes)
        }
    }

    @Test func parserAgreesWithTheSystem() {
        var random = SeededGenerator(seed: 4291)
        let pieces = [
            ":", "::", "0", "1", "ab", "FFFF", "12345", ".", "1.2.3.4", "255.255.255.255", "g", "%1", "00", "-0", "+1",
        ]
        var valid = 0
        for _ in 0..<100_000 {
            let text = (0..<Int.random(in: 0...16, using: &random)).map { _ in
                // Colons between most pieces, so that some texts are addresses.
                pieces.randomElement(using: &random)! + (Int.random(in: 0..<3, using: &random) > 0 ? ":" : "")
            }.joined()
            let parsed = IPv6Address(text)
            if parsed != nil { valid += 1 }
            #expect(parsed?.bytes == systemParse(text), "\(text)")
        }
        #expect(valid > 100, "the generator makes too few addresses")
    }

    @Test func linkLocalAddressIsMadeFromHardwareAddress() {
        #expect(IPv6Address(linkLocalFrom: MACAddress(0x5254_0012_3456)).description == "fe80::5054:ff:fe12:3456")
    }

    @Test func groupsHaveHardwareAddresses() {
        #expect(MACAddress(ofGroup: .allNodes).description == "33:33:00:00:00:01")
        #expect(
            MACAddress(ofGroup: IPv6Address("2001:db8::12:3456")!.solicitedNode).description == "33:33:ff:12:34:56")
    }

    private func systemParse(_ text: String) -> [UInt8]? {
        // A zone belongs to a socket address.
        text.contains("%") ? nil : SocketAddress(text, port: 0)?.ipv6?.bytes
    }
}

@Suite struct IPv6NetworkTests {
    @Test func networkContainsItsAddressesOnly() {
        let address = IPv6Address(0x2001_0db8_1234_5678, 0x9abc_def0_1122_3344)
        for length in 0...128 {
            let network = IPv6Network(containing: address, prefixLength: length)
            #expect(network.contains(address))
            guard length > 0 else { continue }
            let bit = 128 - length
            let neighbour =
                bit >= 64
                ? IPv6Address(address.high ^ 1 << UInt64(bit - 64), address.low)
                : IPv6Address(address.high, address.low ^ 1 << UInt64(bit))
            #expect(!network.contains(neighbour), "\(length)")
        }
    }
}
