// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct AddressTests {
    @Test(arguments: ["52:54:00:12:34:56", "52-54-00-12-34-56", "52:54:0:12:34:56"])
    func macAddressParserAcceptsUsualForms(text: String) {
        #expect(MACAddress(text)?.description == "52:54:00:12:34:56")
    }

    @Test(arguments: [
        "", "52:54:00:12:34", "52:54:00:12:34:56:78", "52:54:00:12:34:5g", "52:54:00:12:34:", "525:4:00:12:34:56",
        "+1:2:3:4:5:6",
    ])
    func macAddressParserRejectsOtherText(text: String) {
        #expect(MACAddress(text) == nil)
    }

    @Test func groupBitIsRecognised() {
        #expect(MACAddress.broadcast.isGroup)
        #expect(MACAddress("33:33:00:00:00:01")!.isGroup)
        #expect(!MACAddress("52:54:00:12:34:56")!.isGroup)
    }

    @Test func derivedAddressesAreUnicastLocalAndStable() {
        for seed in 0..<1000 {
            let address = MACAddress(locallyAdministeredFrom: Array("seed \(seed)".utf8))
            #expect(!address.isGroup)
            #expect(address.value & 0x0200_0000_0000 != 0)
            #expect(address == MACAddress(locallyAdministeredFrom: Array("seed \(seed)".utf8)))
        }
        #expect(MACAddress(locallyAdministeredFrom: [1]) != MACAddress(locallyAdministeredFrom: [2]))
    }

    @Test(arguments: ["0.0.0.0", "192.168.105.1", "255.255.255.255"])
    func ipv4AddressesRoundTrip(text: String) {
        #expect(IPv4Address(text)?.description == text)
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1.2.3.04", "1.2.3.-4", "1.2.3.+4", "1..2.3", "a.b.c.d", "1.2.3.4 ",
    ])
    func ipv4ParserRejectsOtherText(text: String) {
        #expect(IPv4Address(text) == nil)
    }

    @Test(arguments: [
        ("10.0.0.0", true), ("10.255.255.255", true), ("11.0.0.0", false), ("172.15.255.255", false),
        ("172.16.0.0", true), ("172.31.255.255", true),
        ("172.32.0.0", false), ("192.167.255.255", false), ("192.168.0.0", true), ("192.169.0.0", false),
        ("169.254.1.1", false),
    ])
    func privateRangesAreThoseOfRFC1918(text: String, isPrivate: Bool) {
        #expect(IPv4Address(text)!.isPrivate == isPrivate)
    }

    @Test func masksMustBeContiguous() {
        let address = IPv4Address("192.168.105.1")!
        for length in 0...32 {
            let network = IPv4Network(containing: address, prefixLength: length)
            #expect(IPv4Network(containing: address, mask: network.mask)?.prefixLength == length)
        }
        for mask in ["255.0.255.0", "0.255.255.255", "255.255.255.1", "0.0.0.1"] {
            #expect(IPv4Network(containing: address, mask: IPv4Address(mask)!) == nil)
        }
    }

    @Test func networkContainsAndOverlaps() {
        let network = IPv4Network(containing: IPv4Address("192.168.105.77")!, prefixLength: 24)
        #expect(network.description == "192.168.105.0/24")
        #expect(network.broadcast.description == "192.168.105.255")
        #expect(network.contains(IPv4Address("192.168.105.255")!))
        #expect(!network.contains(IPv4Address("192.168.106.0")!))
        for text in ["10.0.0.0/+8", "10.0.0.0/-0", "0.0.0.0/-0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8"] {
            #expect(IPv4Network(text) == nil, "\(text)")
        }
        #expect(network.overlaps(IPv4Network(containing: IPv4Address("192.168.0.0")!, prefixLength: 16)))
        #expect(network.overlaps(IPv4Network(containing: IPv4Address("192.168.105.128")!, prefixLength: 25)))
        #expect(!network.overlaps(IPv4Network(containing: IPv4Address("192.168.104.0")!, prefixLength: 24)))
    }
}
