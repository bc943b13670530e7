// SPDX-License-Identifier: Apache-2.0
import DHCPService
import Testing
import Timing
import Wire

private let second = TimeAmount.seconds(1)

private func guest(_ number: Int) -> ClientPort { ClientPort(UInt16(number), .guest) }

/// What one port of the switch may have of the addresses, and what becomes of leases when a port is gone.
@Suite struct PortShareTests {
    // MARK: Shares

    @Test func onePortTakesNoMoreThanItLeaves() {
        var bench = Bench()
        let taken = (0..<400).filter { bench.lease(mac(1000 + $0), at: guest(1)) != nil }.count
        #expect(taken == 127, "half of 253")
        #expect(bench.server.counters.limited > 0 && bench.server.counters.exhausted == 0)
        let notes = bench.outbox.notes.filter { $0.level == .warning }
        #expect(notes.first?.port == guest(1) && notes.first?.text.contains("--trunk") == true)
        #expect(notes.count < 10, "now and then, not each time")
        // Others find room, and whoever has an address at the port keeps it.
        for number in 2..<60 { #expect(bench.lease(mac(number), at: guest(number)) != nil) }
        #expect(bench.lease(mac(1000), at: guest(1)) == ip(2))
    }

    @Test func aPortWithoutAddressesFindsOneWhileThereIsOne() {
        var bench = Bench(last: 41)
        // Ten ports take what they can.
        for round in 0..<40 {
            for port in 0..<10 { bench.lease(mac(10_000 + 100 * port + round), at: guest(100 + port)) }
        }
        let left = bench.server.table.usage(of: guest(1), now: bench.now).free
        #expect(left > 0)
        for number in 1...left { #expect(bench.lease(mac(number), at: guest(number)) != nil) }
        #expect(bench.lease(mac(99), at: guest(99)) == nil)
        #expect(bench.server.counters.exhausted > 0)
    }

    @Test func offersThatWaitForTheirRequestDoNotExceedTheShare() {
        var bench = Bench(last: 11)
        var offers: [DHCPv4Message] = []
        for number in 0..<10 {
            _ = bench.send(bench.message(.discover, mac(100 + number)), at: guest(1))
            offers += bench.wait(second)
        }
        let granted = offers.filter { bench.send(bench.selecting($0), at: guest(1)).last?.kind == .ack }.count
        #expect(granted == 5)
    }

    @Test func aTrunkHasMoreAtALowerRate() {
        var bench = Bench()
        let trunk = ClientPort(7, .trunk)
        var taken = 0
        for number in 0..<80 {
            _ = bench.send(bench.message(.discover, mac(number)), at: trunk)
            // All within four seconds.
            if let offer = bench.wait(.milliseconds(50)).last,
                bench.send(bench.selecting(offer), at: trunk).last?.kind == .ack
            {
                taken += 1
            }
        }
        #expect((64...68).contains(taken))
        #expect(bench.server.counters.limited > 0)
        // Who has one is not a new client.
        #expect(bench.lease(mac(0), at: trunk) == ip(2))
        for number in 100..<600 { bench.lease(mac(number), at: trunk) }
        let usage = bench.server.table.usage(of: trunk, now: bench.now)
        #expect(usage.held > 127 && usage.free >= 253 / 5)
        #expect(bench.lease(mac(9999), at: guest(1)) != nil)
    }

    @Test func crowdsOfNewClientsGetShortLeasesFirst() throws {
        var bench = Bench()
        var times: [UInt32] = []
        for number in 0..<50 {
            _ = bench.send(bench.message(.discover, mac(number)))
            let offer = try #require(bench.wait(.milliseconds(50)).last)
            times.append(try #require(bench.send(bench.selecting(offer)).last?.seconds(.leaseTime)))
        }
        #expect(times.first == 1800 && times.last == 120)
        // Who is there renews it for the whole time.
        let renewal = bench.message(.request, mac(49)) { $0.clientAddress = ip(51) }
        #expect(bench.send(renewal, from: ip(51), to: ip(1)).last?.seconds(.leaseTime) == 1800)
    }

    // MARK: Claims

    @Test func whoAnswersEveryProbeKeepsHalfOfTheAddressesAtMost() {
        var bench = Bench(last: 41)
        var found: IPv4Address?
        for attempt in 0..<20 where found == nil {
            var replies = bench.send(bench.message(.discover, mac(1)), at: guest(1))
            for _ in 0..<40 where replies.isEmpty {
                for last in 2...41 { bench.arp(.reply, from: mac(666 + attempt), ip(last), at: guest(66)) }
                replies += bench.takeReplies() + bench.wait(.milliseconds(50))
            }
            found = replies.last?.yourAddress
        }
        #expect(found != nil)
        #expect(bench.server.table.usage(of: guest(66), now: bench.now).held <= 20)
        // What was claimed at a port that is gone is not in use.
        bench.server.portDetached(66, now: bench.now)
        #expect(bench.server.table.usage(of: guest(1), now: bench.now).free == 40)
    }

    @Test func oneClientDoesNotDeclineAllAddresses() {
        var bench = Bench(last: 11)
        for number in 0..<50 {
            _ = bench.send(bench.message(.discover, mac(100 + number)), at: guest(66))
            guard let offer = bench.wait(second).last else { continue }
            let decline = bench.message(.decline, mac(100 + number)) {
                $0.set(.requestedAddress, [offer.yourAddress])
                $0.set(.serverIdentifier, [ip(1)])
            }
            _ = bench.send(decline, at: guest(66))
        }
        #expect(bench.server.table.usage(of: guest(66), now: bench.now) == (5, 5))
        for number in 1...5 { #expect(bench.lease(mac(number), at: guest(number)) != nil) }
    }

    @Test func madeUpClaimsDoNotHideARealOne() {
        var bench = Bench { $0.last = IPv4Address("192.168.255.254")! }
        for number in 0..<5000 { bench.arp(.request, from: mac(9), ip(2).advanced(by: 1000 + number), at: guest(66)) }
        _ = bench.send(bench.message(.discover, mac(1)), at: guest(1))
        bench.arp(.reply, from: mac(77), ip(2), at: guest(7))
        #expect(bench.wait(second).last?.yourAddress == ip(3))
    }

    @Test func aFloodOfDiscoversLeavesOthersAPlaceToWait() {
        var bench = Bench { $0.last = IPv4Address("192.168.255.254")! }
        for number in 0..<1000 { _ = bench.send(bench.message(.discover, mac(1000 + number)), at: guest(66)) }
        for number in 1..<60 { _ = bench.send(bench.message(.discover, mac(number)), at: guest(number)) }
        let offered = Set(bench.wait(second).map(\.clientHardware))
        #expect((1..<60).allSatisfy { offered.contains(mac($0)) })
    }

    @Test func anotherPortEndsNobodysLease() {
        var bench = Bench()
        #expect(bench.lease(mac(1), at: guest(1)) == ip(2))
        let release = bench.message(.release, mac(1)) {
            $0.clientAddress = ip(2)
            $0.set(.serverIdentifier, [ip(1)])
        }
        _ = bench.send(release, from: ip(2), to: ip(1), at: guest(66))
        #expect(bench.server.table.running(at: bench.now) == 1)
        let decline = bench.message(.decline, mac(1)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        _ = bench.send(decline, at: guest(66))
        #expect(bench.server.table.running(at: bench.now) == 1)
        _ = bench.send(release, from: ip(2), to: ip(1), at: guest(1))
        #expect(bench.server.table.running(at: bench.now) == 0)
    }

    // MARK: Ports that are gone

    @Test func addressesOfGonePortsAreReusedWhenThereAreNoOthersOldestFirst() {
        var bench = Bench(last: 6)
        for number in 1...5 { #expect(bench.lease(mac(number), at: guest(number)) == ip(number + 1)) }
        for number in [3, 1, 2] {
            bench.now += second
            bench.server.portDetached(UInt16(number), now: bench.now)
        }
        #expect(bench.lease(mac(11), at: guest(11)) == ip(4))
        #expect(bench.lease(mac(12), at: guest(12)) == ip(2))
        // One that comes back in time has its own again.
        #expect(bench.lease(mac(2), at: guest(22)) == ip(3))
        #expect(bench.lease(mac(13), at: guest(13)) == nil, "the others are there")
        // One that comes too late gets another, when there is one.
        bench.server.portDetached(5, now: bench.now)
        #expect(bench.lease(mac(3), at: guest(33)) == ip(6))
    }

    @Test func anAddressIsNotReusedWhileItsClientAnswersElsewhere() {
        var bench = Bench(last: 3)
        for number in 1...2 { bench.lease(mac(number), at: guest(number)) }
        bench.server.portDetached(1, now: bench.now)
        // Moved to another port, without a word to the server.
        _ = bench.send(bench.message(.discover, mac(9)), at: guest(9))
        bench.arp(.reply, from: mac(1), ip(2), at: guest(21))
        #expect(bench.wait(second).isEmpty)
        #expect(bench.server.table.presence(on: ip(2)) == .at(guest(21)))
        #expect(bench.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func aClientThatIsBackBeforeItsAddressIsTakenKeepsIt() throws {
        var bench = Bench(last: 2)
        bench.lease(mac(1), at: guest(1))
        bench.server.portDetached(1, now: bench.now)
        _ = bench.send(bench.message(.discover, mac(9)), at: guest(9))
        let offer = try #require(bench.wait(second).last)
        #expect(offer.yourAddress == ip(2))
        bench.arp(.request, from: mac(1), ip(2), at: guest(21))
        #expect(bench.send(bench.selecting(offer), at: guest(9)).map(\.kind) == [.nak])
        #expect(bench.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func clientsBehindAJoinedSwitchHaveNoPortThatGoes() {
        var bench = Bench(last: 3)
        for number in 1...2 { bench.lease(mac(number)) }
        bench.server.portDetached(0, now: bench.now)
        #expect(bench.lease(mac(9)) == nil)
    }

    @Test func whatAGonePortHasSentLastIsAReleaseOrNothing() {
        var bench = Bench()
        bench.lease(mac(1), at: guest(1))
        #expect(
            (bench.send(bench.message(.discover, mac(2)), at: guest(1), isAttached: false) + bench.wait(second)).isEmpty
        )
        let release = bench.message(.release, mac(1)) { $0.clientAddress = ip(2) }
        _ = bench.send(release, from: ip(2), to: ip(1), at: guest(1), isAttached: false)
        #expect(bench.server.table.running(at: bench.now) == 0)
    }

    @Test func leasesFromBeforeARestartAreReusedLast() {
        let old = Lease(
            address: ip(2), client: ClientIdentity(hardware: mac(1)), hardware: mac(1), hostName: "",
            expires: .distantPast + .seconds(5_000))
        var bench = Bench(last: 3, leases: [old]) { $0.knowsPorts = true }
        #expect(bench.lease(mac(2), at: guest(2)) == ip(3))
        bench.server.portDetached(2, now: bench.now)
        #expect(bench.lease(mac(3), at: guest(3)) == ip(3))
        #expect(bench.lease(mac(4), at: guest(4)) == ip(2))
    }
}
