// SPDX-License-Identifier: Apache-2.0
import Platform
@testable import Switching
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
            // Zeros after a short frame, as a link adds them, could make a packet of it.
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

    /// A reserved address waits for its guest; a lease of another guest counts more.
    @Test func reservedAddressIsOneGuestsAlone() {
        let reserved = IPv4Address("192.168.105.10")!
        var guardian = SourceGuard(ports: 4)
        for port in 1...2 as ClosedRange<PortNumber> { guardian.attach(port, group: 0, isShared: false) }
        func isPermitted(_ number: UInt64, as hardware: UInt64? = nil) -> Bool {
            let claim = SourceGuard.Claim(address: reserved, hardware: mac(hardware ?? number))
            let station = Station(port: PortNumber(number), hardware: mac(number))
            return guardian.judge(claim, by: station, target: nil, isRouter: false, now: 100) == .permitted
        }
        #expect(isPermitted(2))
        guardian.reserve([reserved: mac(1)])
        #expect(!isPermitted(2) && !isPermitted(2, as: 1) && isPermitted(1) && !isPermitted(2))
        guardian.bind(reserved, to: mac(2), until: .distantPast + .seconds(200), now: 100)
        #expect(isPermitted(2) && !isPermitted(1))
        guardian.bind(reserved, to: mac(2), until: .distantPast, now: 100)
        #expect(isPermitted(1) && !isPermitted(2))
        guardian.reserve([:] as [IPv4Address: MACAddress])
        #expect(isPermitted(2))
    }

    /// What the host keeps as a neighbour is bounded for each guest: an address of a large network, and any that sends
    /// ARP requests for the gateway.
    @Test(arguments: [16, 22, 23, 24]) func guestFillsNoTableOfNeighbors(length: Int) {
        let base = IPv4Address("10.20.0.0")!, gateway = IPv4Address("10.20.0.1")!, leased = IPv4Address("10.20.0.2")!
        let foreign = IPv4Address("172.16.0.1")!, isLarge = length < 23
        var guardian = SourceGuard(ports: 4)
        for port in 1...2 as ClosedRange<PortNumber> { guardian.attach(port, group: 0, isShared: false) }
        guardian.setGateway(gateway, IPv4Network(containing: gateway, prefixLength: length), [])
        guardian.bind(leased, to: mac(1), until: .distantFuture, now: 100)
        func permits(
            _ address: IPv4Address, _ port: PortNumber = 1, for target: IPv4Address? = nil, isRouter: Bool = false,
            now: CoarseInstant = 100
        ) -> Bool {
            let station = Station(port: port, hardware: mac(UInt64(port)))
            let claim = SourceGuard.Claim(address: address, hardware: station.hardware)
            return guardian.judge(claim, by: station, target: target, isRouter: isRouter, now: now) == .permitted
        }
        #expect((10..<210).count { permits(base.advanced(by: $0)) } == (isLarge ? 32 : 200))
        // As packets, foreign addresses are the business of the host's firewall.
        #expect((0..<100).count { permits(foreign.advanced(by: $0)) } == 100)
        #expect((0..<100).count { permits(foreign.advanced(by: $0), for: gateway) } == (isLarge ? 0 : 32))
        #expect(permits(foreign.advanced(by: 999), for: free), "the host does not learn it")
        #expect((300..<400).count { permits(base.advanced(by: $0), for: gateway, isRouter: true) } == 100)
        // A lease does not count, and another guest has another share.
        #expect(permits(leased) && permits(leased, for: gateway) && !permits(leased, 2))
        #expect(permits(base.advanced(by: 10), 2, for: gateway) && permits(foreign, 2, for: gateway))
        #expect((10..<200).count { permits(base.advanced(by: $0), now: 105) } == (isLarge ? 32 : 190))
    }
}
