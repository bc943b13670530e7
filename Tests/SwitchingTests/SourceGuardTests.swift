// SPDX-License-Identifier: Apache-2.0
import Platform
@testable import Switching
import TestSupport
import Testing
import Timing
import Wire

/// Guests' IPv6 addresses on a network that we lead, frame by frame.
@Suite struct SourceGuardTests {
    private let linkLocal = IPv6Address(linkLocalFrom: mac(1)), global = IPv6Address(0x2001_0db8 << 32, 0x15)

    private final class Network {
        let harness: ForwarderHarness
        let owner: PeerSocket, rogue: PeerSocket, uplink: PeerSocket

        init(_ reach: GuestRules.Reach = .everywhere, isolation: Bool = false) throws {
            harness = try ForwarderHarness()
            (owner, rogue, uplink) = (try harness.attach(), try harness.attach(), try harness.attach(.uplink))
            var rules = GuestRules(reach)
            (rules.gatewayHardware, rules.gatewayIPv6) = (Forged.gatewayMAC, [Forged.gateway6])
            harness.control.setRules(rules)
            harness.control.setIsolation(isolation)
            harness.settle()
        }

        /// Whether the uplink gets a frame.
        func reaches(_ frame: [UInt8], from end: PeerSocket? = nil) throws -> Bool {
            try (end ?? rogue).send(frame)
            harness.settle()
            return uplink.received() == [frame]
        }

        var offences: [GuestOffence] {
            harness.control.takeEvents().compactMap {
                if case .offence(_, let offence, _) = $0 { offence } else { nil }
            }
        }
        var spoofed: UInt64 { harness.counters(rogue).drops(.spoofed) }
    }

    private func echo(from source: MACAddress, as address: IPv6Address) -> [UInt8] {
        Forged.ipv6(from: source, as: address, [128, 0, 0, 0, 0, 0, 0, 0])
    }
    private func segment(from source: MACAddress, as address: IPv6Address) -> [UInt8] {
        Forged.ipv6(from: source, as: address, first: 6, [UInt8](repeating: 0, count: 20))
    }

    private func neighbor(
        _ type: UInt8, from source: MACAddress, as address: IPv6Address, _ target: IPv6Address,
        option: (UInt8, MACAddress)? = nil
    ) -> [UInt8] {
        Forged.ipv6(
            from: source, as: address,
            [type, 0, 0, 0, 0x20, 0, 0, 0] + target.bytes + (option.map { [$0.0, 1] + $0.1.bytes } ?? []))
    }

    private func detection(from source: MACAddress, _ target: IPv6Address) -> [UInt8] {
        neighbor(135, from: source, as: .unspecified, target)
    }

    /// Whether its guest is there or not; a guest that had it first loses it.
    @Test func reservedAddressIsOneGuestsAlone() throws {
        let network = try Network(), control = network.harness.control
        let theirs = echo(from: mac(2), as: global), own = echo(from: mac(1), as: global)
        let claim = detection(from: mac(2), global)
        #expect(try network.reaches(theirs))
        control.reserve([global: mac(1)])
        network.harness.settle()
        #expect(try !network.reaches(theirs) && !network.reaches(claim) && network.spoofed == 2)
        #expect(network.offences.contains(.address) && control.holder(of: global) == nil)
        // Without a wait.
        #expect(try network.reaches(own, from: network.owner) && !network.reaches(theirs))
        #expect(control.holder(of: global) == Station(port: network.owner.number, hardware: mac(1)))
        // Other addresses, and no reservation any more.
        #expect(try network.reaches(echo(from: mac(2), as: linkLocal)))
        control.reserve([:] as [IPv6Address: MACAddress])
        network.harness.settle()
        #expect(try network.reaches(own, from: network.owner) && !network.reaches(theirs), "in use")
    }

    /// The owner looks for duplicates, and would give the address up if it saw another guest do so.
    @Test func reservedAddressIsNotDetectedByOthers() throws {
        let network = try Network()
        network.harness.control.reserve([global: mac(1)])
        network.harness.settle()
        let own = detection(from: mac(1), global), forged = detection(from: mac(2), global)
        #expect(try !network.reaches(forged) && network.owner.received().isEmpty, "before the owner")
        #expect(try network.reaches(own, from: network.owner) && !network.reaches(forged))
        #expect(network.owner.received().isEmpty && network.spoofed == 2)
    }

    /// Queries for names read the addresses without a command to the worker.
    @Test func addressesAreReadFromOutside() throws {
        #expect(try SwitchControl().holder(of: global) == nil, "no worker")
        let network = try Network(), prefix = IPv6Network(containing: global, prefixLength: 64)
        let owner = Station(port: network.owner.number, hardware: mac(1))
        func addresses(_ station: Station) -> [IPv6Address] {
            network.harness.control.addresses(of: station, in: prefix, usedWithin: .seconds(60))
        }
        #expect(addresses(owner).isEmpty)
        #expect(try network.reaches(echo(from: mac(1), as: global), from: network.owner))
        #expect(addresses(owner) == [global] && network.harness.control.holder(of: global) == owner)
        // Another guest with this address, and with the hardware address.
        #expect(try !network.reaches(echo(from: mac(2), as: global)))
        #expect(addresses(Station(port: network.rogue.number, hardware: mac(2))).isEmpty)
        #expect(addresses(Station(port: network.rogue.number, hardware: mac(1))).isEmpty)
        #expect(addresses(Station(port: SwitchControl.servicePort, hardware: mac(1))).isEmpty)
        network.harness.control.detach(network.owner.number)
        network.harness.settle()
        #expect(addresses(owner).isEmpty && network.harness.control.holder(of: global) == nil)
    }

    @Test func boundAddressIsRefusedToOthersAtAnyTagDepth() throws {
        for address in [linkLocal, global] {
            let network = try Network(isolation: true)
            #expect(try network.reaches(echo(from: mac(1), as: address), from: network.owner))
            let rogue6 = IPv6Address(linkLocalFrom: mac(2))
            let forged = [
                echo(from: mac(2), as: address), segment(from: mac(2), as: address),
                Forged.ipv6(from: mac(2), as: address, first: 17, Forged.udp6(9)),
                neighbor(136, from: mac(2), as: rogue6, address), neighbor(136, from: mac(2), as: address, address),
                neighbor(135, from: mac(2), as: address, rogue6),
                detection(from: mac(2), address),
                Forged.ipv6(from: mac(2), as: address, first: 44, chain: [17, 0, 0, 9, 0, 0, 0, 1], [1, 2, 3]),
                Forged.ipv6(
                    from: mac(2), as: rogue6, first: 60, chain: [58, 0, 1, 4, 0, 0, 0, 0],
                    [136, 0, 0, 0, 0x20, 0, 0, 0] + address.bytes),
            ]
            var count: UInt64 = 0
            for (number, frame) in forged.enumerated() {
                for (name, wrapped) in Forged.wrappings(frame) {
                    count += 1
                    #expect(try !network.reaches(wrapped) && network.spoofed == count, "\(number) \(name)")
                }
            }
            #expect(network.offences == [.address])
            // With its hardware address, too: the port counts.
            #expect(try !network.reaches(echo(from: mac(1), as: address)))
            for frame in [
                echo(from: mac(1), as: address), segment(from: mac(1), as: address),
                neighbor(136, from: mac(1), as: address, address),
            ] {
                for (name, wrapped) in Forged.wrappings(frame) {
                    #expect(try network.reaches(wrapped, from: network.owner), "\(name)")
                }
            }
            #expect(network.harness.counters(network.owner).totalDrops == 0)
        }
    }

    @Test func everyUseOfAddressBindsIt() throws {
        let target = IPv6Address(0xfd00 << 48, 7), own = IPv6Address(linkLocalFrom: mac(1))
        for first in [
            echo(from: mac(1), as: target), detection(from: mac(1), target),
            neighbor(136, from: mac(1), as: own, target), neighbor(135, from: mac(1), as: target, own),
        ] {
            let network = try Network(isolation: true)
            #expect(try network.reaches(first, from: network.owner))
            #expect(
                try !network.reaches(echo(from: mac(2), as: target))
                    && !network.reaches(neighbor(136, from: mac(2), as: target, target)))
        }
        // A solicitation does not bind its target; unspecified and group addresses are never bound.
        let network = try Network(isolation: true)
        #expect(
            try network.reaches(neighbor(135, from: mac(1), as: own, target), from: network.owner)
                && network.reaches(echo(from: mac(2), as: target)))
        for address in [IPv6Address.unspecified, .allNodes] {
            #expect(
                try network.reaches(echo(from: mac(1), as: address), from: network.owner)
                    && network.reaches(echo(from: mac(2), as: address)))
        }
    }

    @Test func detachingAPortFreesItsAddresses() throws {
        let network = try Network(isolation: true)
        #expect(
            try network.reaches(echo(from: mac(1), as: global), from: network.owner)
                && !network.reaches(echo(from: mac(1), as: global)))
        network.harness.control.detach(network.owner.number)
        network.harness.settle()
        #expect(try network.reaches(echo(from: mac(1), as: global)), "a card that was moved to another port")
    }

    @Test func holderIsSolicitedAndKeepsItsAddress() throws {
        let network = try Network(isolation: true)
        #expect(
            try network.reaches(echo(from: mac(1), as: global), from: network.owner)
                && !network.reaches(echo(from: mac(2), as: global)))
        let questions = network.owner.received()
        #expect(
            questions == [
                SourceBindings.frame(
                    of:
                        SourceBindings.Solicitation(
                            address: global, holder: Station(port: network.owner.number, hardware: mac(1))))
            ])
        let question = try #require(questions.first)
        #expect(
            Array(question[0..<6]) == mac(1).bytes && question[20] == 58 && question[21] == 255 && question[54] == 135
                && Array(question[62..<78]) == global.bytes)
        #expect(Array(question[38..<54]) == global.bytes && Array(question[80..<86]) == Array(question[6..<12]))
        #expect(network.rogue.received().isEmpty)
    }

    @Test func duplicateAddressDetectionWorks() throws {
        let network = try Network()
        let bystander = try network.harness.attach()
        #expect(try network.reaches(echo(from: mac(1), as: global), from: network.owner))
        _ = (network.rogue.received(), bystander.received())
        // Only the holder gets it, and its answer reaches all.
        #expect(try !network.reaches(detection(from: mac(2), global)) && network.spoofed == 1)
        #expect(network.owner.received().contains(detection(from: mac(2), global)) && bystander.received().isEmpty)
        let answer = neighbor(136, from: mac(1), as: global, global)
        #expect(try network.reaches(answer, from: network.owner) && network.rogue.received() == [answer])
        _ = bystander.received()
        // One that looks for duplicates itself would give it up.
        let young = IPv6Address(0xfd00 << 48, 9)
        #expect(
            try network.reaches(detection(from: mac(1), young), from: network.owner)
                && !network.reaches(detection(from: mac(2), young)))
        #expect(!network.owner.received().contains(detection(from: mac(2), young)))
    }

    @Test func servingPortForwardsOthersPackets() throws {
        let network = try Network()
        let router = try network.harness.attach(mayServe: true)
        #expect(try network.reaches(echo(from: mac(1), as: global), from: network.owner))
        #expect(try network.reaches(echo(from: mac(3), as: global), from: router))
        #expect(
            try !network.reaches(
                neighbor(136, from: mac(3), as: IPv6Address(linkLocalFrom: mac(3)), global), from: router),
            "but does not answer for them")
    }

    @Test func neighborDiscoveryMustNameTheSendersHardware() throws {
        let own = IPv6Address(linkLocalFrom: mac(2))
        let network = try Network(isolation: true)
        let honest = [
            neighbor(136, from: mac(2), as: own, own, option: (2, mac(2))),
            neighbor(135, from: mac(2), as: own, linkLocal, option: (1, mac(2))),
            Forged.ipv6(from: mac(2), as: own, [133, 0, 0, 0, 0, 0, 0, 0, 1, 1] + mac(2).bytes),
            Forged.ipv6(from: mac(2), as: own, [133, 0, 0, 0, 0, 0, 0, 0]),
        ]
        for frame in honest { #expect(try network.reaches(frame)) }
        let forged = [
            neighbor(136, from: mac(2), as: own, own, option: (2, mac(1))),
            neighbor(135, from: mac(2), as: own, linkLocal, option: (1, mac(1))),
            Forged.ipv6(from: mac(2), as: own, [133, 0, 0, 0, 0, 0, 0, 0, 1, 1] + mac(1).bytes),
            Forged.ipv6(
                from: mac(2), as: own, [133, 0, 0, 0, 0, 0, 0, 0, 14, 1, 0, 0, 0, 0, 0, 0, 1, 1] + mac(1).bytes),
        ]
        for (number, frame) in forged.enumerated() {
            #expect(try !network.reaches(frame) && network.spoofed == UInt64(number + 1))
            // Cut anywhere, zeros of the link could complete it.
            for length in 58..<frame.count {
                var cut = Array(frame.prefix(length))
                (cut[18], cut[19]) = (0, UInt8(length - 54))
                let isWhole = (try? network.reaches(cut)) ?? true
                #expect(!isWhole || [8, 16, 24].contains(length - 54), "\(number): \(length)")
            }
        }
        let endless = Forged.ipv6(from: mac(2), as: own, [133, 0, 0, 0, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 8))
        #expect(try !network.reaches(endless))
        #expect(network.offences.contains(.neighbor))
    }

    @Test func virtualRouterMayNameItsHardwareAddress() throws {
        let network = try Network(isolation: true)
        let own = IPv6Address(linkLocalFrom: mac(2)), virtual = IPv6Address(0xfd00 << 48, 0x33)
        let claim = neighbor(136, from: mac(2), as: own, virtual, option: (2, mac(0x5e)))
        #expect(try !network.reaches(claim))
        #expect(try network.reaches(frame(to: mac(9), from: mac(0x5e)), from: network.rogue) && network.reaches(claim))
        #expect(try network.reaches(frame(to: mac(9), from: mac(0x5e)), from: network.owner) && !network.reaches(claim))
        let arp = ARPPacket(
            operation: .reply, senderHardware: mac(0x5f), senderAddress: IPv4Address("192.168.105.9")!,
            targetHardware: mac(9), targetAddress: .any)
        var bytes = arp.frame(to: .broadcast)
        bytes.replaceSubrange(6..<12, with: mac(2).bytes)
        #expect(
            try !network.reaches(bytes) && network.reaches(frame(to: mac(9), from: mac(0x5f))) && network.reaches(bytes)
        )
    }

    @Test func joinedSwitchWithholdsOffencesFromTheUplink() throws {
        let network = try Network(.uplink)
        #expect(try network.reaches(echo(from: mac(1), as: global), from: network.owner))
        _ = network.rogue.received()
        let forged = echo(from: mac(2), as: global)
        #expect(try !network.reaches(forged) && network.owner.received().contains(forged))
    }

    @Test func otherVLANsAreNotChecked() throws {
        let network = try Network()
        network.harness.control.setVLANAware(true)
        for (end, vlan) in [(network.owner, 10), (network.rogue, 20), (network.uplink, 10)] {
            network.harness.control.setVLANs(of: end.number, untagged: UInt16(vlan), tagged: [])
        }
        let beside = try network.harness.attach()
        network.harness.control.setVLANs(of: beside.number, untagged: 20, tagged: [])
        network.harness.settle()
        #expect(try network.reaches(echo(from: mac(1), as: global), from: network.owner))
        try network.rogue.send(echo(from: mac(2), as: global))
        network.harness.settle()
        #expect(beside.received() == [echo(from: mac(2), as: global)])
        network.harness.control.setVLANs(of: network.rogue.number, untagged: 10, tagged: [])
        network.harness.settle()
        #expect(try !network.reaches(echo(from: mac(2), as: global)))
    }

    @Test func withoutRulesNothingIsBound() throws {
        let network = try Network(.nothing)
        #expect(
            try network.reaches(echo(from: mac(1), as: global), from: network.owner)
                && network.reaches(echo(from: mac(2), as: global)))
    }
}
