// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import TestSupport
import Testing
import Wire

/// A frame with an 802.1Q tag.
private func tagged(
    _ vlan: UInt16, priority: UInt16 = 0, to destination: MACAddress, from source: MACAddress, _ payload: [UInt8] = []
) -> [UInt8] {
    let control = priority << 13 | vlan
    return frame(
        to: destination, from: source, [UInt8(control >> 8), UInt8(control & 0xff), 0x88, 0xb5] + payload,
        type: EtherType.vlan)
}

@Suite struct VLANTests {
    @Test func unawareSwitchPassesTagsUnchanged() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach()
        let frames = [
            tagged(7, priority: 5, to: .broadcast, from: mac(1)), tagged(0, priority: 3, to: .broadcast, from: mac(1)),
            tagged(4094, to: mac(2), from: mac(1)),
        ]
        for frame in frames { try a.send(frame) }
        harness.settle()
        #expect(b.received() == frames)
    }

    @Test func addressesAreLearnedPerVLAN() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(), c = try harness.attach()
        try b.send(tagged(7, to: .broadcast, from: mac(2)))
        harness.settle()
        _ = (a.received(), c.received())
        try a.send(tagged(7, to: mac(2), from: mac(1)))
        try a.send(tagged(8, to: mac(2), from: mac(1)))
        harness.settle()
        #expect(b.received().count == 2)
        #expect(c.received() == [tagged(8, to: mac(2), from: mac(1))], "unknown in VLAN 8")
    }

    /// Ports: a and b untagged in 10, trunk tagged in 10 and 20, c untagged in 20, d in none of them.
    private final class Network {
        let harness: ForwarderHarness
        let a: PeerSocket, b: PeerSocket, c: PeerSocket, d: PeerSocket, trunk: PeerSocket

        init() throws {
            harness = try ForwarderHarness()
            (a, b, c, d, trunk) = (
                try harness.attach(), try harness.attach(), try harness.attach(), try harness.attach(),
                try harness.attach()
            )
            harness.control.setVLANAware(true)
            for (end, vlan) in [(a, 10), (b, 10), (c, 20)] {
                harness.control.setVLANs(of: end.number, untagged: UInt16(vlan), tagged: [])
            }
            harness.control.setVLANs(of: trunk.number, untagged: PortConfiguration.noVLAN, tagged: [10, 20])
            harness.settle()
        }
    }

    @Test func untaggedFramesStayInTheirVLANAndAreTaggedOnATrunk() throws {
        let network = try Network()
        let plain = frame(to: .broadcast, from: mac(1), [1, 2, 3])
        try network.a.send(plain)
        network.harness.settle()
        #expect(network.b.received() == [plain])
        #expect(network.trunk.received() == [tagged(10, to: .broadcast, from: mac(1), [1, 2, 3])])
        #expect(network.c.received().isEmpty && network.d.received().isEmpty)
    }

    @Test func tagIsRemovedAtUntaggedMembers() throws {
        let network = try Network()
        try network.trunk.send(tagged(20, priority: 6, to: .broadcast, from: mac(5), [9]))
        network.harness.settle()
        #expect(network.c.received() == [frame(to: .broadcast, from: mac(5), [9])])
        #expect(network.a.received().isEmpty && network.d.received().isEmpty)
        // What is known goes there only, and gets its tag back.
        try network.c.send(frame(to: mac(5), from: mac(6), [8]))
        network.harness.settle()
        #expect(network.trunk.received() == [tagged(20, to: mac(5), from: mac(6), [8])])
    }

    @Test func ingressFilteringDropsAndCounts() throws {
        let network = try Network()
        try network.a.send(tagged(20, to: .broadcast, from: mac(1)))
        try network.trunk.send(frame(to: .broadcast, from: mac(5)))
        try network.trunk.send(tagged(30, to: .broadcast, from: mac(5)))
        network.harness.settle()
        for end in [network.a, network.b, network.c, network.d, network.trunk] { #expect(end.received().isEmpty) }
        #expect(network.harness.counters(network.a).drops(.vlan) == 1)
        #expect(network.harness.counters(network.trunk).drops(.vlan) == 2)
    }

    @Test func reservedVLANIsDropped() throws {
        let network = try Network()
        let other = try network.harness.attach()
        network.harness.control.setVLANs(of: other.number, untagged: PortConfiguration.noVLAN, tagged: [30])
        network.harness.settle()
        try network.trunk.send(tagged(4095, to: .broadcast, from: mac(5)))
        network.harness.settle()
        #expect(other.received().isEmpty)
        #expect(network.harness.counters(network.trunk).drops(.vlan) == 1)
    }

    @Test func gatewayAddressIsStaticInEveryVLANOfTheUplink() throws {
        let harness = try ForwarderHarness()
        let thief = try harness.attach(), uplink = try harness.attach(.uplink)
        harness.control.addStatic(mac(9), at: uplink.number)
        harness.control.setVLANAware(true)
        harness.control.setVLANs(of: uplink.number, untagged: PortConfiguration.noVLAN, tagged: [10, 20])
        harness.control.setVLANs(of: thief.number, untagged: 20, tagged: [])
        harness.settle()
        try thief.send(frame(to: .broadcast, from: mac(9)))
        harness.settle()
        #expect(uplink.received().isEmpty)
        #expect(harness.counters(thief).drops(.spoofed) == 1)
    }

    @Test func priorityTagKeepsTheVLAN() throws {
        let network = try Network()
        try network.a.send(tagged(0, priority: 5, to: .broadcast, from: mac(1), [4]))
        network.harness.settle()
        #expect(network.b.received() == [frame(to: .broadcast, from: mac(1), [4])])
        #expect(
            network.trunk.received() == [tagged(10, priority: 5, to: .broadcast, from: mac(1), [4])],
            "the priority survives")
    }

    @Test func portMayTagItsOwnPVID() throws {
        let network = try Network()
        try network.a.send(tagged(10, to: .broadcast, from: mac(1), [4]))
        network.harness.settle()
        #expect(network.b.received() == [frame(to: .broadcast, from: mac(1), [4])])
    }

    @Test func changingThePVIDForgetsAddresses() throws {
        let network = try Network()
        try network.b.send(frame(to: .broadcast, from: mac(2)))
        network.harness.settle()
        network.harness.control.setVLANs(of: network.b.number, untagged: 20, tagged: [])
        network.harness.settle()
        _ = (network.a.received(), network.trunk.received())
        try network.a.send(frame(to: mac(2), from: mac(1)))
        network.harness.settle()
        #expect(network.b.received().isEmpty)
        #expect(network.trunk.received().count == 1)
    }

    @Test func gatewayIsReachableInTheUplinksVLAN() throws {
        let harness = try ForwarderHarness()
        let a = try harness.attach(), b = try harness.attach(),
            uplink = try harness.attach(.uplink, receivesUnknown: false)
        harness.control.addStatic(mac(9), at: uplink.number)
        harness.control.setVLANAware(true)
        harness.control.setVLANs(of: a.number, untagged: 5, tagged: [])
        harness.control.setVLANs(of: uplink.number, untagged: 5, tagged: [])
        harness.control.setPolicy(ServicePolicy(watchesARP: true))
        harness.settle()
        try a.send(frame(to: mac(9), from: mac(1)))
        try b.send(frame(to: mac(9), from: mac(2)))
        harness.settle()
        #expect(uplink.received() == [frame(to: mac(9), from: mac(1))])
        // So is the DHCP server.
        let question = ARPPacket.probe(for: IPv4Address("192.168.105.2")!, from: mac(1)).frame(to: .broadcast)
        try a.send(question)
        try b.send(ARPPacket.probe(for: IPv4Address("192.168.105.3")!, from: mac(2)).frame(to: .broadcast))
        harness.settle()
        #expect(harness.control.removeServiceFrame()?.bytes == question)
        #expect(harness.control.removeServiceFrame() == nil)
    }

    @Test func randomTrafficNeverLeavesItsVLAN() throws {
        var generator = SeededGenerator(seed: 11)
        let network = try Network()
        let ends = [network.a, network.b, network.c, network.d, network.trunk]
        for _ in 0..<2000 {
            let sender = ends.randomElement(using: &generator)!
            let source = mac(UInt64.random(in: 1...6, using: &generator)),
                destination =
                    Bool.random(using: &generator) ? .broadcast : mac(UInt64.random(in: 1...6, using: &generator))
            let payload = [UInt8](repeating: 0, count: Int.random(in: 0...40, using: &generator))
            let vlan: UInt16? =
                Bool.random(using: &generator) ? [0, 10, 20, 30].randomElement(using: &generator)! : nil
            try sender.send(
                vlan.map { tagged($0, to: destination, from: source, payload) }
                    ?? frame(to: destination, from: source, payload))
            network.harness.settle()
            let from: UInt16 =
                sender === network.a || sender === network.b
                ? 10 : sender === network.c ? 20 : sender === network.d ? 0 : .max
            let vlanSent = vlan.map { $0 == 0 ? from : $0 } ?? from
            for end in ends {
                // So many addresses that move look like a loop: the switch's own probes are not of this traffic.
                for frame in end.received() where frame[0] != 0x03 {
                    let header = VLANTag(ofFrame: frame.rawSpan)
                    if end === network.trunk {
                        #expect(header?.identifier == vlanSent)
                    } else {
                        #expect(header == nil)
                        #expect(vlanSent == (end === network.c ? 20 : end === network.d ? 0 : 10))
                    }
                }
            }
        }
    }
}
