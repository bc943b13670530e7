// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Testing
import Timing
import Wire

private let second = TimeAmount.seconds(1)

/// Clients that have, or believe to have, an address that the server has not stored.
@Suite struct ReclaimTests {
    private func alone(last: Int = 254, leases: [Lease] = []) -> DHCPHarness {
        DHCPHarness(last: last, leases: leases) { $0.isAuthoritative = true }
    }

    private func reboot(_ harness: DHCPHarness, _ client: MACAddress, _ address: IPv4Address) -> DHCPv4Message {
        harness.message(.request, client) { $0.set(.requestedAddress, [address]) }
    }

    private func rebind(_ harness: DHCPHarness, _ client: MACAddress, _ address: IPv4Address) -> DHCPv4Message {
        harness.message(.request, client) { $0.clientAddress = address }
    }

    // MARK: An address that the client still answers for

    @Test func clientThatStillUsesItsAddressIsOfferedIt() {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)))
        var probes = 1
        for _ in 0..<20 {
            harness.arp(.reply, from: mac(1), ip(2))
            let before = harness.outbox.frames.count
            let replies = harness.wait(.milliseconds(50))
            probes += max(0, harness.outbox.frames.count - before)
            guard replies.isEmpty else {
                #expect(replies.map(\.yourAddress) == [ip(2)])
                return
            }
        }
        Issue.record("no offer after \(probes) probes")
    }

    @Test func probingEnds() {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)))
        // Whatever comes of the probe, its due date passes a bounded number of times.
        var steps = 0
        while let due = harness.server.nextDeadline, steps < 1000 {
            harness.now = due
            harness.server.tick(now: harness.now, into: &harness.outbox)
            harness.arp(.reply, from: mac(1), ip(2))
            steps += 1
        }
        #expect(steps < 20)
    }

    // MARK: INIT-REBOOT and REBINDING (RFC 2131 section 4.3.2)

    @Test(arguments: [false, true])
    func addressOfAnotherNetworkIsRefused(isRebinding: Bool) {
        var harness = alone()
        let other = IPv4Address("192.168.64.7")!
        let message = isRebinding ? rebind(harness, mac(1), other) : reboot(harness, mac(1), other)
        #expect(harness.send(message, from: isRebinding ? other : .any).map(\.kind) == [.nak])
    }

    @Test(arguments: [false, true])
    func freeAddressIsAcknowledgedAfterProbe(isRebinding: Bool) {
        var harness = alone()
        let message = isRebinding ? rebind(harness, mac(1), ip(77)) : reboot(harness, mac(1), ip(77))
        #expect(harness.send(message).isEmpty)
        // Sent again meanwhile.
        #expect(harness.send(message).isEmpty)
        #expect(harness.wait(.milliseconds(50)).map(\.kind) == [.ack])
        #expect(harness.outbox.changes.map(\.address) == [ip(77)])
        #expect(harness.server.table.lease(on: ip(77))?.hardware == mac(1))
    }

    @Test func clientThatAnswersItsOwnProbeKeepsTheAddress() {
        var harness = alone()
        _ = harness.send(rebind(harness, mac(1), ip(77)), from: ip(77))
        harness.arp(.reply, from: mac(1), ip(77))
        #expect(harness.wait(.milliseconds(50)).map(\.kind) == [.ack])
    }

    @Test func addressInUseIsRefused() {
        var harness = alone()
        _ = harness.send(reboot(harness, mac(1), ip(77)))
        harness.arp(.reply, from: mac(2), ip(77))
        #expect((harness.takeReplies() + harness.wait(second)).map(\.kind) == [.nak])
        #expect(harness.lease(mac(3), asking: ip(77)) == ip(2))
    }

    @Test func leasedAddressesAndThoseOutsideThePoolAreRefused() {
        var harness = alone(last: 20)
        harness.lease(mac(2))
        for address in [ip(2), ip(1), ip(100), ip(255)] {
            #expect(harness.send(reboot(harness, mac(1), address)).map(\.kind) == [.nak], "\(address)")
        }
        _ = harness.send(harness.message(.discover, mac(3)))
        #expect(harness.wait(second).map(\.yourAddress) == [ip(3)])
        #expect(harness.send(reboot(harness, mac(1), ip(3))).map(\.kind) == [.nak], "offered to another")
    }

    @Test func possibleOtherServerMeansNoReply() {
        var harness = DHCPHarness()
        for address in [ip(77), IPv4Address("192.168.64.7")!] {
            #expect((harness.send(reboot(harness, mac(1), address)) + harness.wait(second)).isEmpty)
            #expect((harness.send(rebind(harness, mac(1), address), from: address) + harness.wait(second)).isEmpty)
        }
        #expect(harness.outbox.changes.isEmpty)
    }

    @Test func portAtItsShareReclaimsNoAddress() {
        var harness = alone(last: 11)
        let port = ClientPort(1, .guest)
        var answers = 0
        for last in 2...11 {
            answers += (harness.send(reboot(harness, mac(100 + last), ip(last)), at: port) + harness.wait(second)).count
            {
                $0.kind == .ack
            }
        }
        #expect(answers == 5)
    }

    // MARK: One hardware address, several client identifiers

    @Test func bootROMAndSystemShareOneLease() {
        var harness = DHCPHarness()
        let duid: [UInt8] = [255, 0, 0, 0, 1, 0, 2, 3, 4]
        for _ in 0..<3 {
            #expect(harness.lease(mac(1)) == ip(2))
            #expect(harness.lease(mac(1), identifier: duid) == ip(2))
            #expect(harness.lease(mac(1), identifier: [0] + [UInt8](repeating: 7, count: 16)) == ip(2))
        }
        #expect(harness.server.table.leases.count == 1)
        #expect(harness.lease(mac(2)) == ip(3))
    }

    /// Containers that share their host's hardware address (ipvlan) have separate identifiers.
    @Test func runningClientsOfOneHardwareAddressGetTwoLeases() {
        var harness = DHCPHarness()
        for number in 0..<4 {
            let identifier: [UInt8] = [255, 1, UInt8(number)]
            var offers = harness.send(harness.message(.discover, mac(1)) { $0[.clientIdentifier] = identifier })
            for _ in 0..<8 where offers.isEmpty {
                for last in 2..<2 + number { harness.arp(.reply, from: mac(1), ip(last)) }
                offers += harness.wait(.milliseconds(50))
            }
            guard let offer = offers.last else {
                Issue.record("no offer for client \(number)")
                return
            }
            #expect(offer.yourAddress == ip(2 + number))
            #expect(harness.send(harness.selecting(offer, identifier: identifier)).last?.kind == .ack)
        }
        for number in 0..<4 {
            let renewal = harness.message(.request, mac(1)) {
                $0.clientAddress = ip(2 + number)
                $0[.clientIdentifier] = [255, 1, UInt8(number)]
            }
            #expect(harness.send(renewal, from: ip(2 + number), to: ip(1)).last?.kind == .ack)
        }
    }

    @Test func sameHardwareAddressAtAnotherPortSharesNoLease() {
        var harness = DHCPHarness()
        let here = ClientPort(1, .guest), there = ClientPort(2, .guest)
        #expect(harness.lease(mac(1), at: here) == ip(2))
        #expect(harness.lease(mac(1), identifier: [255, 9], at: there) == ip(3))
        harness.server.portDetached(1, now: harness.now)
        #expect(harness.lease(mac(1), identifier: [255, 8], at: there) != nil)
    }

    // MARK: The tiny guest of `check`

    @Test func checkGetsAddressFromEndOfPool() {
        var harness = DHCPHarness(last: 6)
        func check(_ number: Int) -> IPv4Address? {
            _ = harness.send(harness.message(.discover, mac(number)) { $0[.vendorClass] = DHCPVendorClass.check })
            return harness.wait(second).last?.yourAddress
        }
        #expect(check(100) == ip(6))
        #expect(check(101) == ip(5))
        #expect(harness.lease(mac(1)) == ip(2))
    }
}
