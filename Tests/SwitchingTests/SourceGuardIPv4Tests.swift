// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

@Suite struct SourceGuardIPv4Tests {
    private let mine = IPv4Address("192.168.105.2")!, gateway = IPv4Address("192.168.105.1")!,
        free = IPv4Address("192.168.105.9")!

    private func packet(from source: MACAddress, claiming address: IPv4Address) -> [UInt8] {
        Frames.udp(
            from: Endpoint(source, address, port: 4000),
            to: Endpoint(.broadcast, IPv4Address("192.168.105.255")!, port: 4001), [1])
    }

    private func arp(from source: MACAddress, claiming address: IPv4Address, at hardware: MACAddress? = nil) -> [UInt8]
    {
        var frame = Frames.arpReply(from: Endpoint(hardware ?? source, address), to: Endpoint(.broadcast, free))
        frame.replaceSubrange(6..<12, with: source.bytes)
        return frame
    }

    private func tagged(_ frame: [UInt8]) -> [UInt8] { frame[0..<12] + [0x81, 0, 0x20, 0] + frame[12...] }

    @Test func leasedAddressIsReservedForItsHolder() throws {
        let harness = try ForwarderHarness()
        let owner = try harness.attach(), other = try harness.attach(), listener = try harness.attach()
        harness.control.setPolicy(ServicePolicy(takesDHCP: true))
        harness.control.bind([
            LeaseBinding(mine, mac(1), until: .distantFuture), LeaseBinding(gateway, mac(9), until: .distantFuture),
        ])
        let honest = [
            packet(from: mac(1), claiming: mine), arp(from: mac(1), claiming: mine),
            tagged(packet(from: mac(1), claiming: mine)), packet(from: mac(1), claiming: free),
            arp(from: mac(1), claiming: .any),
        ]
        for frame in honest { try owner.send(frame) }
        harness.settle()
        #expect(listener.received() == honest)
        let forged = [
            packet(from: mac(2), claiming: mine), arp(from: mac(2), claiming: mine),
            arp(from: mac(2), claiming: mine, at: mac(1)), tagged(arp(from: mac(2), claiming: gateway)),
            packet(from: mac(2), claiming: gateway),
        ]
        let own = packet(from: mac(2), claiming: free)
        for frame in forged {
            try other.send(frame)
            try other.send(own)
        }
        harness.settle()
        #expect(listener.received() == forged.map { _ in own })
        #expect(harness.counters(other).drops(.spoofed) == forged.count && harness.counters(owner).drops(.spoofed) == 0)
    }

    @Test func claimsBehindTagsAreCheckedOrDropped() throws {
        let harness = try ForwarderHarness()
        let other = try harness.attach(), listener = try harness.attach()
        harness.control.setPolicy(ServicePolicy(takesDHCP: true))
        harness.control.bind([LeaseBinding(mine, mac(1), until: .distantFuture)])
        harness.settle()
        var count: UInt64 = 0
        for forged in [packet(from: mac(2), claiming: mine), arp(from: mac(2), claiming: mine)] {
            for (name, wrapped) in Forged.wrappings(forged) {
                try other.send(wrapped)
                harness.settle()
                count += 1
                #expect(listener.received().isEmpty && harness.counters(other).drops(.spoofed) == count, "\(name)")
            }
            try other.send(Forged.deep(forged))
            // Zeros behind a short frame, as a link adds them, could make a packet of it.
            for length in 15..<(forged[12] == 8 && forged[13] == 6 ? 42 : 34) {
                try other.send(Array(forged.prefix(length)))
            }
            harness.settle()
            #expect(listener.received().isEmpty)
        }
        #expect(harness.counters(other).drops(.tags) == 2 && harness.counters(other).drops(.malformed) == 27 + 19)
        let honest = Forged.wrappings(packet(from: mac(2), claiming: free)).map(\.1)
        for frame in honest { try other.send(frame) }
        harness.settle()
        #expect(listener.received() == honest)
    }

    @Test func expiredLeaseGuardsNothing() throws {
        let harness = try ForwarderHarness()
        let other = try harness.attach(), listener = try harness.attach()
        let frame = packet(from: mac(2), claiming: mine)
        harness.control.setPolicy(ServicePolicy(takesDHCP: true))
        harness.control.bind([LeaseBinding(mine, mac(1), until: BootClock.now)])
        try other.send(frame)
        harness.settle()
        #expect(listener.received() == [frame])
        harness.control.bind([LeaseBinding(mine, mac(1), until: .distantFuture)])
        harness.settle()
        try other.send(frame)
        harness.settle()
        #expect(listener.received().isEmpty)
        harness.control.setPolicy(ServicePolicy(watchesDHCP: true))
        harness.settle()
        try other.send(frame)
        harness.settle()
        #expect(listener.received() == [frame])
        // The lease goes to another guest.
        harness.control.setPolicy(ServicePolicy(takesDHCP: true))
        harness.control.bind([LeaseBinding(mine, mac(2), until: .distantFuture)])
        harness.settle()
        try other.send(frame)
        harness.settle()
        #expect(listener.received() == [frame])
    }
}
