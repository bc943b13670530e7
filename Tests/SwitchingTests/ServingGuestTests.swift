// SPDX-License-Identifier: Apache-2.0
import Platform
@testable import Switching
import TestSupport
import Testing
import Timing
import Wire

/// DHCP requests of guests, the servers among them, and VLANs.
@Suite struct ServingGuestTests {
    private func start(_ harness: ForwarderHarness, _ change: (inout GuestRules) -> Void = { _ in }) {
        var rules = GuestRules(.everywhere)
        change(&rules)
        harness.control.setRules(rules)
        harness.control.setPolicy(ServicePolicy(takesDHCP: true, watchesARP: true))
        harness.settle()
    }

    @Test func oneRequestAMinuteIsShownToGuests() throws {
        let harness = try ForwarderHarness()
        let client = try harness.attach(), other = try harness.attach(), uplink = try harness.attach(.uplink)
        start(harness)
        for number in 0..<5 {
            try client.send(Forged.discover(from: mac(UInt64(number) + 1)))
            harness.settle()
            #expect(harness.control.removeServiceFrame()?.bytes == Forged.discover(from: mac(UInt64(number) + 1)))
        }
        #expect(other.received() == [Forged.discover(from: mac(1))], "a server among them answers, and is named")
        #expect(uplink.received().isEmpty)
        try other.send(Forged.discover(from: mac(2)))
        harness.settle()
        #expect(client.received().count == 1, "each port has its own")
    }

    @Test func requestsReachGuestsThatMayServe() throws {
        let harness = try ForwarderHarness()
        let client = try harness.attach(), other = try harness.attach(), byPort = try harness.attach(mayServe: true),
            byAddress = try harness.attach(), uplink = try harness.attach(.uplink)
        start(harness) {
            $0.servers = [mac(8), mac(9)]; $0.hasServingPorts = true
        }
        for address in [mac(8), mac(9)] { try byAddress.send(frame(to: mac(1), from: address)) }
        harness.settle()
        _ = (client.received(), other.received(), byPort.received(), uplink.received())
        for _ in 0..<3 {
            let discover = Forged.discover(from: mac(1))
            try client.send(discover)
            harness.settle()
            #expect(harness.control.removeServiceFrame()?.bytes == discover)
            #expect(byPort.received() == [discover] && byAddress.received() == [discover])
        }
        #expect(other.received().isEmpty && uplink.received().isEmpty)
    }

    @Test func serviceReadsBehindPriorityTags() throws {
        let harness = try ForwarderHarness()
        let client = try harness.attach(), other = try harness.attach(), uplink = try harness.attach(.uplink)
        start(harness)
        let question = ARPPacket.probe(for: IPv4Address("192.168.105.2")!, from: mac(1)).frame(to: .broadcast)
        for (name, wrapped) in Forged.wrappings(question) {
            try client.send(wrapped)
            harness.settle()
            let isSeen = !name.contains("VLAN") && !name.contains("SNAP")
            #expect(harness.control.removeServiceFrame()?.bytes == (isSeen ? question : nil), "\(name)")
            #expect(other.received() == [wrapped] && uplink.received() == [wrapped], "\(name)")
        }
        for (name, wrapped) in Forged.wrappings(Forged.discover(from: mac(1)))
        where !name.contains("VLAN") && !name.contains("SNAP") {
            try client.send(wrapped)
            harness.settle()
            #expect(
                harness.control.removeServiceFrame()?.bytes == Forged.discover(from: mac(1))
                    && uplink.received().isEmpty,
                "\(name)")
        }
    }

    @Test func trunkIsServedInTheUplinksVLANOnly() throws {
        let harness = try ForwarderHarness()
        let trunk = try harness.attach(), access = try harness.attach(), elsewhere = try harness.attach(),
            uplink = try harness.attach(.uplink)
        harness.control.setVLANAware(true)
        for (end, vlan) in [(access, 10), (elsewhere, 20), (uplink, 10)] {
            harness.control.setVLANs(of: end.number, untagged: UInt16(vlan), tagged: [])
        }
        harness.control.setVLANs(of: trunk.number, untagged: PortConfiguration.noVLAN, tagged: [10, 20])
        harness.control.setVLANs(of: uplink.number, untagged: 10, tagged: [20])
        start(harness)
        func tagged(_ vlan: UInt8, _ frame: [UInt8]) -> [UInt8] { frame[0..<12] + [0x81, 0, 0, vlan] + frame[12...] }
        let discover = Forged.discover(from: mac(1))
        try trunk.send(tagged(10, discover))
        harness.settle()
        #expect(
            harness.control.removeServiceFrame()?.bytes == discover && access.received() == [discover]
                && uplink.received().isEmpty)
        #expect(harness.control.sendFromService(frame(to: mac(1), from: mac(9))))
        harness.settle()
        #expect(trunk.received() == [tagged(10, frame(to: mac(1), from: mac(9)))])

        for (offence, forged) in Forged.serving(from: mac(1)) {
            for (name, wrapped) in Forged.wrappings(forged) where !name.contains("four") {
                try trunk.send(tagged(10, wrapped))
                harness.settle()
                #expect(access.received().isEmpty && uplink.received().isEmpty, "\(offence) \(name)")
                // Another VLAN is another network, where guests may serve each other.
                try trunk.send(tagged(20, wrapped))
                harness.settle()
                #expect(elsewhere.received() == [wrapped] && uplink.received().isEmpty, "\(offence) \(name)")
            }
        }
        let honest = tagged(20, Forged.ipv4(6, from: mac(1), [1, 2]))
        try trunk.send(honest)
        harness.settle()
        #expect(uplink.received() == [honest])
    }

    @Test func isolationHoldsAtAnyTagDepthAndForTheService() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach(), other = try harness.attach(), uplink = try harness.attach(.uplink)
        start(harness)
        harness.control.setIsolation(true)
        harness.settle()
        try other.send(frame(to: mac(99), from: mac(2), type: 0x88b6))
        harness.settle()
        _ = uplink.received()
        for destination in [mac(2), .broadcast, MACAddress(0x3333_0000_0001), MACAddress(0x0100_5e00_0001), mac(77)] {
            let plain = frame(to: destination, from: mac(1), [UInt8](repeating: 3, count: 46), type: 0x88b6)
            for (name, wrapped) in Forged.wrappings(plain) {
                try one.send(wrapped)
                harness.settle()
                #expect(other.received().isEmpty, "\(destination) \(name)")
            }
        }
        // No guest is shown a request, and a broadcast reply goes to its client only.
        try one.send(Forged.discover(from: mac(1)))
        harness.settle()
        #expect(other.received().isEmpty)
        var message = DHCPv4Message(isReply: true, transactionID: 0x5ec2_e75e, clientHardware: mac(1))
        message[.messageType] = [DHCPv4Message.Kind.offer.rawValue]
        let offer = Frames.udp(
            from: Endpoint(mac(9), IPv4Address("192.168.105.1")!, port: 67),
            to: Endpoint(.broadcast, .broadcast, port: 68), message.bytes())
        #expect(harness.control.sendFromService(offer))
        harness.settle()
        #expect(one.received() == [offer] && other.received().isEmpty)
    }

    @Test func leaseBindingsAreBounded() {
        var bindings = LeaseBindings()
        let hour = Instant.distantPast + .hours(1)
        for number in 1...200_000 as ClosedRange<UInt32> {
            bindings.bind(
                IPv4Address(0x0a00_0000 + number),
                LeaseBindings.Holder(hardware: mac(UInt64(number)), until: hour + .nanoseconds(Int64(number))), now: 0)
        }
        #expect(bindings.count <= LeaseBindings.limit)
        #expect(
            bindings.holder(of: IPv4Address(0x0a00_0000 + 200_000))?.hardware == mac(200_000),
            "those that end first have gone")
        #expect(bindings.holder(of: IPv4Address(0x0a00_0001)) == nil)
        // What is over makes room.
        for number in 1...100_000 as ClosedRange<UInt32> {
            bindings.bind(
                IPv4Address(0x0b00_0000 + number),
                LeaseBindings.Holder(hardware: mac(1), until: .distantPast + .seconds(Int64(number))),
                now: CoarseInstant(seconds: number - 1))
        }
        #expect(bindings.holder(of: IPv4Address(0x0b00_0000 + 100_000))?.hardware == mac(1))
    }

    @Test func gatewayAddressesAreBounded() {
        var addresses = GatewayAddresses()
        addresses.reset(to: [Forged.gateway6])
        for number in 0..<100 as Range<UInt64> {
            addresses.record(IPv6Address(0xfd00 << 48, number), now: CoarseInstant(seconds: UInt32(number)))
        }
        #expect(addresses.count == GatewayAddresses.capacity && addresses.contains(Forged.gateway6, now: 100_000))
        #expect(
            addresses.contains(IPv6Address(0xfd00 << 48, 99), now: 100)
                && !addresses.contains(IPv6Address(0xfd00 << 48, 1), now: 100))
        let end = CoarseInstant(seconds: 99) + GatewayAddresses.lifetime
        let isOver = !addresses.contains(IPv6Address(0xfd00 << 48, 99), now: end)
        #expect(isOver)
    }
}
