// SPDX-License-Identifier: Apache-2.0
@testable import Switching
import TestSupport
import Testing
import Wire

/// The router flag of the gateway's neighbour advertisements.
@Suite struct RouterFlagTests {
    private static let router = IPv6Address("fe80::1")!, guest = IPv6Address("fe80::2")!

    private func advertisement(from hardware: MACAddress, isRouter: Bool) -> [UInt8] {
        NeighborDiscovery.advertisement(
            of: RouterFlagTests.router, at: hardware, to: (RouterFlagTests.guest, mac(1)), isRouter: isRouter)
    }

    /// What a guest gets of an advertisement that the gateway sends as a host.
    private func received(reach: GuestRules.Reach, hasRouter: Bool, from hardware: MACAddress) throws -> [[UInt8]] {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), uplink = try harness.attach(.uplink)
        var rules = GuestRules(reach)
        rules.gatewayHardware = mac(0xfe)
        harness.control.setRules(rules)
        harness.control.setRouterService(hasRouter)
        harness.settle()
        try uplink.send(advertisement(from: hardware, isRouter: false))
        harness.settle()
        return guest.received()
    }

    @Test(arguments: [GuestRules.Reach.everywhere, .nothing])
    func gatewayIsRouterWhileRouterIsAdvertised(reach: GuestRules.Reach) throws {
        #expect(
            try received(reach: reach, hasRouter: true, from: mac(0xfe))
                == [advertisement(from: mac(0xfe), isRouter: true)])
        #expect(
            try received(reach: reach, hasRouter: false, from: mac(0xfe))
                == [advertisement(from: mac(0xfe), isRouter: false)])
    }

    @Test func otherStationsBehindUplinkStayHosts() throws {
        #expect(
            try received(reach: .everywhere, hasRouter: true, from: mac(0xfd))
                == [advertisement(from: mac(0xfd), isRouter: false)])
    }
}
