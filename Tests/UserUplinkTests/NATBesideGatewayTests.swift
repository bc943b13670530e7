// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing
import Wire
@testable import UserUplink

/// The NAT beside a TAP, where another station is the gateway.
@Suite struct NATBesideGatewayTests {
    private static let linkLocal = IPv6Address(linkLocalFrom: Fixture.router)
    private static let own = IPv6Address(Fixture.prefix, linkLocal.low)
    private static let gateway = IPv6Address(Fixture.prefix, 1)

    private func made(_ change: (inout NATGateway.Options) -> Void = { _ in }) -> NATGateway {
        Fixture.gateway { options in
            options.answersDNS = false
            options.isBesideGateway = true
            options.linkLocal = Self.linkLocal
            options.interfaceID = Self.linkLocal.low
            change(&options)
        }
    }

    private func solicitation(for target: IPv6Address) -> [UInt8] {
        NeighborDiscovery.solicitation(
            for: target, from: (Fixture.guest6, Fixture.mac), to: MACAddress(ofGroup: target.solicitedNode))
    }

    @Test func onlyOwnAddressesAreAnswered() {
        var nat = made()
        for target in [Self.gateway, .customaryGateway] {
            #expect(nat.judge(solicitation(for: target)) == .consumed && nat.toGuests.isEmpty, "\(target)")
        }
        for target in [Self.linkLocal, Self.own] {
            #expect(nat.judge(solicitation(for: target)) == .consumed && nat.toGuests.count == 1, "\(target)")
            nat.toGuests.removeAll()
        }
        let request = Frames.arpRequest(from: Endpoint(Fixture.mac, Fixture.guest), for: Fixture.network.gateway)
        #expect(nat.judge(request) == .consumed && nat.toGuests.isEmpty)
    }

    @Test func onlyIPv6ToTheOutsideIsCarried() {
        var nat = made()
        #expect(nat.judge(Fixture.udp6(to: Fixture.outside6)).isDatagram)
        #expect(nat.judge(Fixture.udp()) == .consumed && nat.judge(Fixture.ping()) == .consumed)
        #expect(nat.judge(Fixture.tcp()) == .consumed)
        #expect(nat.judge(Fixture.udp6(to: Self.gateway, port: 53)) == .drop(.refused))
        #expect(nat.judge(Fixture.udp6(to: IPv6Address(Fixture.prefix, 99))) == .drop(.refused))
    }

    /// The host's own addresses and other guests' networks, even if the policy or a name leads there.
    @Test func closedNetworksAreRefused() throws {
        var nat = made { $0.policy.setDenying(true) }
        let name = try #require(DNSName("a.example")), other = IPv6Address(Fixture.outside6.high, 2)
        let pins = [Fixture.outside6, other].map {
            EgressPin(guest: Fixture.mac, address: .ipv6($0), scope: .everyPort)
        }
        _ = nat.pins.insert(pins, of: name, until: .seconds(1000), now: .seconds(1))
        nat.closedNetworks = [IPv6Network(containing: Fixture.outside6, prefixLength: 128)]
        #expect(nat.judge(Fixture.udp6(to: Fixture.outside6)) == .drop(.refused))
        #expect(nat.judge(Fixture.udp6(to: other)).isDatagram)
        var open = made()
        open.closedNetworks = nat.closedNetworks
        #expect(open.judge(Fixture.udp6(to: Fixture.outside6)) == .drop(.refused))
        #expect(open.judge(Fixture.udp6(to: other)).isDatagram)
        let key = FlowKey(IPProtocol.udp, guest: Fixture.guest6, 4000, remote: Fixture.outside6, 5000)
        #expect(!open.allowsDatagrams(key, now: .seconds(100)) && !open.allowsConnection(key, now: .seconds(100)))
    }
}
