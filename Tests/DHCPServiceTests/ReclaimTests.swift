// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Testing
import Timing
import Wire

private let second = TimeAmount.seconds(1)

/// Clients that have, or believe to have, an address of which the server does not know.
@Suite struct ReclaimTests {
    private func alone(last: Int = 254, leases: [Lease] = []) -> Bench {
        Bench(last: last, leases: leases) { $0.isAuthoritative = true }
    }

    private func reboot(_ bench: Bench, _ client: MACAddress, _ address: IPv4Address) -> DHCPv4Message {
        bench.message(.request, client) { $0.set(.requestedAddress, [address]) }
    }

    private func rebind(_ bench: Bench, _ client: MACAddress, _ address: IPv4Address) -> DHCPv4Message {
        bench.message(.request, client) { $0.clientAddress = address }
    }

    // MARK: An address that the client still answers for

    @Test func aClientThatStillHoldsTheAddressIsOfferedItAfterOneProbe() {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)))
        var probes = 1
        for _ in 0..<20 {
            bench.arp(.reply, from: mac(1), ip(2))
            let before = bench.outbox.frames.count
            let replies = bench.wait(.milliseconds(50))
            probes += max(0, bench.outbox.frames.count - before)
            guard replies.isEmpty else {
                #expect(replies.map(\.yourAddress) == [ip(2)])
                return
            }
        }
        Issue.record("no offer after \(probes) probes")
    }

    @Test func noClientIsProbedForForEver() {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)))
        // Whatever comes of the probe, its due date passes a bounded number of times.
        var steps = 0
        while let due = bench.server.nextDeadline, steps < 1000 {
            bench.now = due
            bench.server.tick(now: bench.now, into: &bench.outbox)
            bench.arp(.reply, from: mac(1), ip(2))
            steps += 1
        }
        #expect(steps < 20)
    }

    // MARK: INIT-REBOOT and REBINDING (RFC 2131 section 4.3.2)

    @Test(arguments: [false, true])
    func anAddressOfAnotherNetworkIsRefusedAtOnce(isRebinding: Bool) {
        var bench = alone()
        let other = IPv4Address("192.168.64.7")!
        let message = isRebinding ? rebind(bench, mac(1), other) : reboot(bench, mac(1), other)
        #expect(bench.send(message, from: isRebinding ? other : .any).map(\.kind) == [.nak])
    }

    @Test(arguments: [false, true])
    func aFreeAddressIsGivenAfterAProbe(isRebinding: Bool) {
        var bench = alone()
        let message = isRebinding ? rebind(bench, mac(1), ip(77)) : reboot(bench, mac(1), ip(77))
        #expect(bench.send(message).isEmpty)
        // Sent again meanwhile.
        #expect(bench.send(message).isEmpty)
        #expect(bench.wait(.milliseconds(50)).map(\.kind) == [.ack])
        #expect(bench.outbox.changes.map(\.address) == [ip(77)])
        #expect(bench.server.table.lease(on: ip(77))?.hardware == mac(1))
    }

    @Test func oneThatAnswersForItItselfKeepsIt() {
        var bench = alone()
        _ = bench.send(rebind(bench, mac(1), ip(77)), from: ip(77))
        bench.arp(.reply, from: mac(1), ip(77))
        #expect(bench.wait(.milliseconds(50)).map(\.kind) == [.ack])
    }

    @Test func anAddressThatAnotherUsesIsRefused() {
        var bench = alone()
        _ = bench.send(reboot(bench, mac(1), ip(77)))
        bench.arp(.reply, from: mac(2), ip(77))
        #expect((bench.takeReplies() + bench.wait(second)).map(\.kind) == [.nak])
        #expect(bench.lease(mac(3), asking: ip(77)) == ip(2))
    }

    @Test func anothersAddressAndWhatIsOutsideThePoolAreRefused() {
        var bench = alone(last: 20)
        bench.lease(mac(2))
        for address in [ip(2), ip(1), ip(100), ip(255)] {
            #expect(bench.send(reboot(bench, mac(1), address)).map(\.kind) == [.nak], "\(address)")
        }
        _ = bench.send(bench.message(.discover, mac(3)))
        #expect(bench.wait(second).map(\.yourAddress) == [ip(3)])
        #expect(bench.send(reboot(bench, mac(1), ip(3))).map(\.kind) == [.nak], "offered to another")
    }

    @Test func whereAnotherServerMayBeThereIsSilence() {
        var bench = Bench()
        for address in [ip(77), IPv4Address("192.168.64.7")!] {
            #expect((bench.send(reboot(bench, mac(1), address)) + bench.wait(second)).isEmpty)
            #expect((bench.send(rebind(bench, mac(1), address), from: address) + bench.wait(second)).isEmpty)
        }
        #expect(bench.outbox.changes.isEmpty)
    }

    @Test func aPortThatHasItsShareReclaimsNothing() {
        var bench = alone(last: 11)
        let port = ClientPort(1, .guest)
        var answers = 0
        for last in 2...11 {
            answers += (bench.send(reboot(bench, mac(100 + last), ip(last)), at: port) + bench.wait(second)).count {
                $0.kind == .ack
            }
        }
        #expect(answers == 5)
    }

    // MARK: One hardware address, several client identifiers

    @Test func aBootROMAndTheSystemBehindItShareOneLease() {
        var bench = Bench()
        let duid: [UInt8] = [255, 0, 0, 0, 1, 0, 2, 3, 4]
        for _ in 0..<3 {
            #expect(bench.lease(mac(1)) == ip(2))
            #expect(bench.lease(mac(1), identifier: duid) == ip(2))
            #expect(bench.lease(mac(1), identifier: [0] + [UInt8](repeating: 7, count: 16)) == ip(2))
        }
        #expect(bench.server.table.leases.count == 1)
        #expect(bench.lease(mac(2)) == ip(3))
    }

    /// Containers that share their host's hardware address (ipvlan) have identifiers of their own.
    @Test func clientsOfOneHardwareAddressThatAreThereAreKeptApart() {
        var bench = Bench()
        for number in 0..<4 {
            let identifier: [UInt8] = [255, 1, UInt8(number)]
            var offers = bench.send(bench.message(.discover, mac(1)) { $0[.clientIdentifier] = identifier })
            for _ in 0..<8 where offers.isEmpty {
                for last in 2..<2 + number { bench.arp(.reply, from: mac(1), ip(last)) }
                offers += bench.wait(.milliseconds(50))
            }
            guard let offer = offers.last else {
                Issue.record("no offer for client \(number)")
                return
            }
            #expect(offer.yourAddress == ip(2 + number))
            #expect(bench.send(bench.selecting(offer, identifier: identifier)).last?.kind == .ack)
        }
        for number in 0..<4 {
            let renewal = bench.message(.request, mac(1)) {
                $0.clientAddress = ip(2 + number)
                $0[.clientIdentifier] = [255, 1, UInt8(number)]
            }
            #expect(bench.send(renewal, from: ip(2 + number), to: ip(1)).last?.kind == .ack)
        }
    }

    @Test func theSameHardwareAddressAtAnotherPortSharesNothing() {
        var bench = Bench()
        let here = ClientPort(1, .guest), there = ClientPort(2, .guest)
        #expect(bench.lease(mac(1), at: here) == ip(2))
        #expect(bench.lease(mac(1), identifier: [255, 9], at: there) == ip(3))
        bench.server.portDetached(1, now: bench.now)
        #expect(bench.lease(mac(1), identifier: [255, 8], at: there) != nil)
    }

    // MARK: The tiny guest of `check`

    @Test func aCheckLeavesTheFirstAddressesToGuests() {
        var bench = Bench(last: 6)
        func check(_ number: Int) -> IPv4Address? {
            _ = bench.send(bench.message(.discover, mac(number)) { $0[.vendorClass] = DHCPVendorClass.check })
            return bench.wait(second).last?.yourAddress
        }
        #expect(check(100) == ip(6))
        #expect(check(101) == ip(5))
        #expect(bench.lease(mac(1)) == ip(2))
    }
}
