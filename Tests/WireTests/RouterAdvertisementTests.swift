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
