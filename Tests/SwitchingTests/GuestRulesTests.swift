// SPDX-License-Identifier: Apache-2.0
import Platform
@testable import Switching
import TestSupport
import Testing
import Wire

/// Frames of guests that serve, and ways to wrap them.
enum Forged {
    static let gateway = IPv4Address("192.168.105.1")!, gatewayMAC = mac(0x99),
        gateway6 = IPv6Address(linkLocalFrom: mac(0x99))
    static let allNodes = MACAddress(0x3333_0000_0001)

    /// Names of ways to put a frame after tags that receivers take out, and the frame after them.
    static func wrappings(_ frame: [UInt8]) -> [(String, [UInt8])] {
        let tag: [UInt8] = [0x81, 0, 0x60, 0], service: [UInt8] = [0x88, 0xa8, 0, 0], other: [UInt8] = [0x81, 0, 0, 5]
        let snap = [UInt8((frame.count - 8) >> 8), UInt8((frame.count - 8) & 0xff), 0xaa, 0xaa, 3, 0, 0, 0] as [UInt8]
        let wrappings: [(String, [UInt8])] = [
            ("plain", []), ("8100", tag), ("88a8", service), ("8100 8100", tag + tag), ("88a8 8100", service + tag),
            ("VLAN 5", other), ("8100, VLAN 5", tag + other),
            ("four", tag + service + tag + service), ("SNAP", snap), ("8100 SNAP", tag + snap),
            ("SNAP 8100", snap + tag),
        ]
        return wrappings.map { ($0, frame[0..<12] + $1 + frame[12...]) }
    }

    static func deep(_ frame: [UInt8]) -> [UInt8] {
        frame[0..<12] + [[UInt8]](repeating: [0x81, 0, 0, 0], count: 5).flatMap(\.self) + frame[12...]
    }

    static func dhcp(from source: MACAddress, port: UInt16 = 67) -> [UInt8] {
        Frames.udp(
            from: Endpoint(source, IPv4Address("192.168.105.9")!, port: port),
            to: Endpoint(.broadcast, .broadcast, port: 68), [UInt8](repeating: 2, count: 240))
    }

    static func discover(from source: MACAddress) -> [UInt8] {
        Frames.udp(
            from: Endpoint(source, port: 68), to: Endpoint(.broadcast, .broadcast, port: 67),
            [UInt8](repeating: 0, count: 300))
    }

    static func ipv4(
        _ number: UInt8, from source: MACAddress, _ payload: [UInt8], fragment: UInt16 = 0, length: Int? = nil
    ) -> [UInt8] {
        var frame = Frames.ipv4(
            number, from: Endpoint(source, IPv4Address("192.168.105.9")!), to: Endpoint(.broadcast, .broadcast),
            fragment: fragment, payload)
        if let length {
            frame.replaceSubrange(16..<18, with: [UInt8((20 + length) >> 8), UInt8((20 + length) & 0xff)])
        }
        return frame
    }

    /// - Parameters:
    ///   - chain: extension headers, the first of them `first`.
    static func ipv6(
        from source: MACAddress, as address: IPv6Address? = nil, first: UInt8 = 58, chain: [UInt8] = [],
        _ payload: [UInt8], length: Int? = nil
    ) -> [UInt8] {
        var writer = ByteWriter()
        let header = IPv6Header(
            source: address ?? IPv6Address(linkLocalFrom: source), destination: .allNodes, nextHeader: first,
            hopLimit: 255)
        header.emit(into: &writer, payloadLength: length ?? chain.count + payload.count)
        writer.put(chain + payload)
        return frame(to: allNodes, from: source, writer.bytes, type: EtherType.ipv6)
    }

    static func icmp6(_ type: UInt8, _ target: IPv6Address = gateway6) -> [UInt8] {
        [type, 0, 1, 2, 0x20, 0, 0, 0] + target.bytes + [2, 1] + mac(1).bytes
    }

    static func udp6(_ port: UInt8) -> [UInt8] { [2, 34, 2, port, 0, 12, 0, 0, 7, 0, 0, 0] }

    /// Serving of every kind.
    static func serving(from source: MACAddress) -> [(GuestOffence, [UInt8])] {
        [
            (.dhcp, dhcp(from: source)), (.dhcp, dhcp(from: source, port: 4000)),
            (.dhcpIPv6, ipv6(from: source, first: 17, udp6(34))),
            (.routerAdvertisement, ipv6(from: source, icmp6(134))), (.redirect, ipv6(from: source, icmp6(137))),
            (.routerAdvertisement, ipv6(from: source, first: 60, chain: [58, 0, 1, 4, 0, 0, 0, 0], icmp6(134))),
            (
                .routerAdvertisement,
                ipv6(from: source, first: 0, chain: [44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 1, 0, 0, 0, 1], icmp6(134))
            ),
            (.redirect, ipv4(1, from: source, [5, 1, 0, 0, 0, 0, 0, 0])),
            (.routerAdvertisement, ipv4(1, from: source, [9, 0, 0, 0, 0, 0, 0, 0])),
        ]
    }
}

@Suite struct GuestRulesTests {
    private final class Network {
        let harness: ForwarderHarness
        let rogue: PeerSocket, other: PeerSocket, uplink: PeerSocket

        init(_ change: (inout GuestRules) -> Void = { _ in }, reach: GuestRules.Reach = .everywhere) throws {
            harness = try ForwarderHarness()
            (rogue, other, uplink) = (try harness.attach(), try harness.attach(), try harness.attach(.uplink))
            var rules = GuestRules(reach)
            (rules.gateway, rules.gatewayHardware, rules.gatewayIPv6) = (
                Forged.gateway, Forged.gatewayMAC, [Forged.gateway6]
            )
            change(&rules)
            harness.control.setRules(rules)
            harness.settle()
        }

        /// What the others get of a frame of the rogue's.
        func send(_ frame: [UInt8]) throws -> (other: Bool, uplink: Bool) {
            try rogue.send(frame)
            harness.settle()
            return (other.received() == [frame], uplink.received() == [frame])
        }

        var offences: [GuestOffence] {
            harness.control.takeEvents().compactMap {
                if case .offence(_, let offence, _) = $0 { offence } else { nil }
            }
        }
        func drops(_ reason: DropReason) -> UInt64 { harness.counters(rogue).drops(reason) }
    }

    @Test func guestsMayNotServeAtAnyTagDepth() throws {
        let network = try Network()
        var count: UInt64 = 0
        for (offence, frame) in Forged.serving(from: mac(1)) {
            for (name, wrapped) in Forged.wrappings(frame) {
                let reached = try network.send(wrapped)
                #expect(!reached.other && !reached.uplink, "\(offence) \(name)")
                count += 1
                #expect(network.drops(.serving) == count, "\(offence) \(name)")
            }
        }
        #expect(network.harness.counters(network.rogue).totalDrops == count)
        #expect(Set(network.offences) == [.dhcp, .dhcpIPv6, .routerAdvertisement, .redirect])
    }

    @Test func eachOffenceIsReportedOnce() throws {
        let network = try Network()
        for _ in 0..<20 { _ = try network.send(Forged.ipv6(from: mac(1), Forged.icmp6(134))) }
        _ = try network.send(Forged.dhcp(from: mac(2)))
        let events = network.harness.control.takeEvents().filter { if case .offence = $0 { true } else { false } }
        #expect(
            events == [
                .offence(network.rogue.number, .routerAdvertisement, mac(1)),
                .offence(network.rogue.number, .dhcp, mac(2)),
            ])
    }

    @Test func legitimateFramesPass() throws {
        let network = try Network()
        let long = [UInt8](repeating: 1, count: 64)
        let honest = [
            Forged.ipv6(from: mac(1), [133, 0, 1, 2, 0, 0, 0, 0, 1, 1] + mac(1).bytes),
            Forged.ipv6(from: mac(1), Forged.icmp6(135)),
            Forged.ipv6(from: mac(1), Forged.icmp6(136, IPv6Address(linkLocalFrom: mac(1)))),
            Forged.ipv6(from: mac(1), as: .unspecified, Forged.icmp6(135, IPv6Address(linkLocalFrom: mac(1)))),
            Forged.ipv6(from: mac(1), Forged.icmp6(128)),
            Forged.ipv6(from: mac(1), first: 17, Forged.udp6(35)), Forged.ipv6(from: mac(1), first: 6, [1, 2]),
            Forged.ipv6(from: mac(1), first: 50, [1, 2]),
            Forged.ipv6(from: mac(1), first: 44, chain: [58, 0, 0, 9, 0, 0, 0, 1], Forged.icmp6(134)),
            Forged.ipv6(from: mac(1), first: 59, []),
            Forged.ipv4(17, from: mac(1), long, fragment: 0x2000),
            Forged.ipv4(17, from: mac(1), [0, 67, 0, 68], fragment: 0x0001),
            Forged.ipv4(1, from: mac(1), [8, 0, 0, 0, 0, 0, 0, 0]),
            Forged.ipv4(6, from: mac(1), [1, 2]), frame(to: .broadcast, from: mac(1), long, type: 0x88cc),
        ]
        for frame in honest {
            for (name, wrapped) in Forged.wrappings(frame) {
                let reached = try network.send(wrapped)
                #expect(reached.other && reached.uplink, "\(frame[12...]) \(name)")
            }
        }
        #expect(network.harness.counters(network.rogue).totalDrops == 0 && network.offences.isEmpty)
    }

    @Test func hiddenHeadersAreDropped() throws {
        let network = try Network()
        let advertisement = Forged.icmp6(134)
        let hidden = [
            // First fragments without the whole chain (RFC 7112), and short of the UDP header.
            Forged.ipv6(from: mac(1), first: 44, chain: [60, 0, 0, 1, 0, 0, 0, 1], []),
            Forged.ipv6(from: mac(1), first: 44, chain: [58, 0, 0, 1, 0, 0, 0, 1], []),
            Forged.ipv6(from: mac(1), first: 44, chain: [60, 0, 0, 1, 0, 0, 0, 1], [58, 1, 1, 4, 0, 0, 0, 0]),
            Forged.ipv6(from: mac(1), first: 44, chain: [17, 0, 0, 1, 0, 0, 0, 1], [2, 34]),
            Forged.ipv4(17, from: mac(1), [0, 67, 0], fragment: 0x2000),
            Forged.ipv4(1, from: mac(1), [], fragment: 0x2000),
            // An innocent header lies in the padding, where no receiver reads it: the next fragment has the one that
            // counts.
            Forged.ipv6(
                from: mac(1), first: 44, chain: [60, 0, 0, 1, 0, 0, 0, 1] + [58, 0, 1, 4, 0, 0, 0, 0],
                Forged.icmp6(128), length: 16),
            Forged.ipv4(17, from: mac(1), [0, 67, 0, 0, 0, 8, 0, 0], fragment: 0x2000, length: 3),
            // More extension headers than any packet has a use for.
            Forged.ipv6(
                from: mac(1), first: 60,
                chain: [[UInt8]](repeating: [60, 0, 1, 4, 0, 0, 0, 0], count: 40).flatMap(\.self) + [
                    58, 0, 1, 4, 0, 0, 0, 0,
                ], advertisement),
            // Neighbour discovery whose target is cut off, which the link's padding would complete.
            Forged.ipv6(from: mac(1), Array(Forged.icmp6(136).prefix(23))),
        ]
        for (number, frame) in hidden.enumerated() {
            let reached = try network.send(frame)
            #expect(!reached.other && !reached.uplink && network.drops(.hidden) == UInt64(number + 1), "\(number)")
        }
        // A jumbogram's length is 0, and Linux takes all that there is.
        let jumbogram = Forged.ipv6(from: mac(1), first: 0, chain: [58, 0, 1, 4, 0, 0, 0, 0], advertisement, length: 0)
        #expect(try network.send(jumbogram) == (false, false) && network.drops(.serving) == 1)
    }

    /// Cut anywhere, a frame that serves or claims the gateway is never one that a receiver could complete.
    @Test func truncatedForgedFramesAreDropped() throws {
        let network = try Network()
        let forged =
            Forged.serving(from: mac(1)).map(\.1) + [
                Forged.ipv6(from: mac(1), Forged.icmp6(136)),
                Forged.ipv6(from: mac(1), as: Forged.gateway6, Forged.icmp6(128)),
            ]
        for frame in forged {
            // Up to the header that identifies the protocol.
            for length in 15..<frame.count where length < 60 {
                #expect(try network.send(Array(frame.prefix(length))) == (false, false), "\(frame[12...]) \(length)")
            }
        }
    }

    @Test func gatewayIPv6AddressesAreRefusedToGuests() throws {
        let network = try Network()
        let claims = [
            Forged.ipv6(from: mac(1), Forged.icmp6(136)),
            Forged.ipv6(from: mac(1), as: Forged.gateway6, Forged.icmp6(135, IPv6Address(linkLocalFrom: mac(2)))),
            Forged.ipv6(from: mac(1), as: .unspecified, Forged.icmp6(135)),
            Forged.ipv6(from: mac(1), as: Forged.gateway6, first: 6, [1, 2, 3]),
            Forged.ipv6(from: mac(1), first: 60, chain: [58, 0, 1, 4, 0, 0, 0, 0], Forged.icmp6(136)),
        ]
        for frame in claims {
            for (name, wrapped) in Forged.wrappings(frame) {
                #expect(try network.send(wrapped) == (false, false), "\(frame[12...]) \(name)")
            }
        }
        #expect(
            network.harness.counters(network.rogue).totalDrops == network.drops(.spoofed)
                && network.offences == [.gateway])
        // Its hardware address, in a VLAN of the guests' own.
        #expect(
            try network.send(
                Forged.wrappings(frame(to: .broadcast, from: Forged.gatewayMAC)).first { $0.0 == "VLAN 5" }!.1) == (
                    false, false
                ))
    }

    @Test func gatewayAddressesAreLearnedFromTheUplink() throws {
        let network = try Network()
        let tentative = IPv6Address(0xfd00 << 48, 5), announced = IPv6Address(0xfd00 << 48, 6),
            proxied = IPv6Address(0xfd00 << 48, 7)
        let asking = IPv6Address(0xfd00 << 48, 8), linkLocal = IPv6Address(0xfe80 << 48, 9),
            forwarded = IPv6Address(0x2001 << 48, 1)
        func claim(_ address: IPv6Address) throws -> Bool {
            try network.send(Forged.ipv6(from: mac(1), Forged.icmp6(136, address))).other
        }
        for address in [tentative, announced, proxied, asking, linkLocal, forwarded] { #expect(try claim(address)) }
        var proxy = Forged.icmp6(136, proxied)
        proxy[4] = 0
        for frame in [
            Forged.ipv6(from: Forged.gatewayMAC, as: .unspecified, Forged.icmp6(135, tentative)),
            Forged.ipv6(from: Forged.gatewayMAC, Forged.icmp6(136, announced)),
            Forged.ipv6(from: Forged.gatewayMAC, proxy), Forged.ipv6(from: mac(7), Forged.icmp6(136, proxied)),
            Forged.ipv6(from: Forged.gatewayMAC, as: asking, Forged.icmp6(135, IPv6Address(linkLocalFrom: mac(2)))),
            Forged.ipv6(from: Forged.gatewayMAC, as: linkLocal, first: 0, [58, 0, 5, 2, 0, 0, 1, 0]),
            Forged.ipv6(from: Forged.gatewayMAC, as: forwarded, Forged.icmp6(128)),
        ] {
            try network.uplink.send(frame)
        }
        network.harness.settle()
        _ = (network.rogue.received(), network.other.received())
        for address in [tentative, announced, asking, linkLocal] { #expect(try !claim(address), "\(address)") }
        #expect(try claim(proxied) && claim(forwarded))
    }

    @Test func gatewayIPv4AddressIsProtectedWithoutDHCP() throws {
        let network = try Network { $0.stopsDHCP = false }
        let claim = ARPPacket(
            operation: .reply, senderHardware: mac(1), senderAddress: Forged.gateway, targetHardware: mac(2),
            targetAddress: .any
        ).frame(to: .broadcast)
        for (name, wrapped) in Forged.wrappings(claim) {
            #expect(try network.send(wrapped) == (false, false), "\(name)")
        }
        #expect(network.offences == [.gateway])
    }

    @Test func deepTagsAreDroppedOnlyWithRules() throws {
        let network = try Network()
        let deep = Forged.deep(frame(to: .broadcast, from: mac(1), [1, 2, 3]))
        #expect(try network.send(deep) == (false, false))
        #expect(network.drops(.tags) == 1 && network.offences == [.tooManyTags])
        network.harness.control.setRules(GuestRules(.nothing))
        network.harness.settle()
        #expect(try network.send(deep) == (true, true))
        for (_, frame) in Forged.serving(from: mac(1)) { #expect(try network.send(frame) == (true, true)) }
    }

    @Test func joinedSwitchWithholdsOffencesFromTheUplink() throws {
        let network = try Network(reach: .uplink)
        for (offence, frame) in Forged.serving(from: mac(1)) + [
            (.tooManyTags, Forged.deep(frame(to: .broadcast, from: mac(1))))
        ] {
            #expect(try network.send(frame) == (true, false), "\(offence)")
        }
        #expect(Set(network.offences) == [.dhcp, .dhcpIPv6, .routerAdvertisement, .redirect, .tooManyTags])
    }

    @Test func permittedServerServesGuestsButNotTheHost() throws {
        for byPort in [true, false] {
            let network = try Network {
                $0.servers = byPort ? [] : [mac(1)]; $0.hasServingPorts = byPort
            }
            let server = byPort ? try network.harness.attach(mayServe: true) : network.rogue
            for (offence, frame) in Forged.serving(from: mac(1)) {
                for (name, wrapped) in Forged.wrappings(frame) {
                    try server.send(wrapped)
                    network.harness.settle()
                    #expect(
                        network.other.received() == [wrapped] && network.uplink.received().isEmpty, "\(offence) \(name)"
                    )
                    _ = network.rogue.received()
                }
            }
            try network.other.send(Forged.dhcp(from: mac(2)))
            network.harness.settle()
            #expect(
                server.received().isEmpty && network.harness.counters(network.other).drops(.serving) == 1,
                "others do not"
            )
        }
    }

    @Test func withoutDHCPGuestsMayAnswerDHCPOnly() throws {
        let network = try Network { $0.stopsDHCP = false }
        for (offence, frame) in Forged.serving(from: mac(1)) {
            let isDHCP = offence == .dhcp || offence == .dhcpIPv6
            #expect(try network.send(frame) == (isDHCP, false), "\(offence)")
        }
    }
}
