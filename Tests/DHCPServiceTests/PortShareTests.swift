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

    @Test func portLeasesAtMostHalfOfThePool() {
        var harness = DHCPHarness()
        let taken = (0..<400).filter { harness.lease(mac(1000 + $0), at: guest(1)) != nil }.count
        #expect(taken == 127, "half of 253")
        #expect(harness.server.counters.limited > 0 && harness.server.counters.exhausted == 0)
        let notes = harness.outbox.notes.filter { $0.level == .warning }
        #expect(notes.first?.port == guest(1) && notes.first?.text.contains("--trunk") == true)
        #expect(notes.count < 10, "now and then, not each time")
        // Other ports find room, and a client that has an address at the port keeps it.
        for number in 2..<60 { #expect(harness.lease(mac(number), at: guest(number)) != nil) }
        #expect(harness.lease(mac(1000), at: guest(1)) == ip(2))
    }

    @Test func portWithoutAddressesGetsOneFromNonemptyPool() {
        var harness = DHCPHarness(last: 41)
        // Ten ports take what they can.
        for round in 0..<40 {
            for port in 0..<10 { harness.lease(mac(10_000 + 100 * port + round), at: guest(100 + port)) }
        }
        let left = harness.server.table.usage(of: guest(1), now: harness.now).free
        #expect(left > 0)
        for number in 1...left { #expect(harness.lease(mac(number), at: guest(number)) != nil) }
        #expect(harness.lease(mac(99), at: guest(99)) == nil)
        #expect(harness.server.counters.exhausted > 0)
    }

    @Test func outstandingOffersStayWithinTheShare() {
        var harness = DHCPHarness(last: 11)
        var offers: [DHCPv4Message] = []
        for number in 0..<10 {
            _ = harness.send(harness.message(.discover, mac(100 + number)), at: guest(1))
            offers += harness.wait(second)
        }
        let granted = offers.filter { harness.send(harness.selecting($0), at: guest(1)).last?.kind == .ack }.count
        #expect(granted == 5)
    }

    @Test func trunkPortHasLargerShareAtLimitedRate() {
        var harness = DHCPHarness()
        let trunk = ClientPort(7, .trunk)
        var taken = 0
        for number in 0..<80 {
            _ = harness.send(harness.message(.discover, mac(number)), at: trunk)
            // All within four seconds.
            if let offer = harness.wait(.milliseconds(50)).last,
                harness.send(harness.selecting(offer), at: trunk).last?.kind == .ack
            {
                taken += 1
            }
        }
        #expect((64...68).contains(taken))
        #expect(harness.server.counters.limited > 0)
        // A client that has one is not a new client.
        #expect(harness.lease(mac(0), at: trunk) == ip(2))
        for number in 100..<600 { harness.lease(mac(number), at: trunk) }
        let usage = harness.server.table.usage(of: trunk, now: harness.now)
        #expect(usage.held > 127 && usage.free >= 253 / 5)
        #expect(harness.lease(mac(9999), at: guest(1)) != nil)
    }

    @Test func manyNewClientsGetShortFirstLeases() throws {
        var harness = DHCPHarness()
        var times: [UInt32] = []
        for number in 0..<50 {
            _ = harness.send(harness.message(.discover, mac(number)))
            let offer = try #require(harness.wait(.milliseconds(50)).last)
            times.append(try #require(harness.send(harness.selecting(offer)).last?.seconds(.leaseTime)))
        }
        #expect(times.first == 1800 && times.last == 120)
        // A present client renews it for the whole time.
        let renewal = harness.message(.request, mac(49)) { $0.clientAddress = ip(51) }
        #expect(harness.send(renewal, from: ip(51), to: ip(1)).last?.seconds(.leaseTime) == 1800)
    }

    // MARK: Claims

    @Test func hostThatAnswersEveryProbeGetsHalfThePoolAtMost() {
        var harness = DHCPHarness(last: 41)
        var found: IPv4Address?
        for attempt in 0..<20 where found == nil {
            var replies = harness.send(harness.message(.discover, mac(1)), at: guest(1))
            for _ in 0..<40 where replies.isEmpty {
                for last in 2...41 { harness.arp(.reply, from: mac(666 + attempt), ip(last), at: guest(66)) }
                replies += harness.takeReplies() + harness.wait(.milliseconds(50))
            }
            found = replies.last?.yourAddress
        }
        #expect(found != nil)
        #expect(harness.server.table.usage(of: guest(66), now: harness.now).held <= 20)
        // What was claimed at a port that is gone is not in use.
        harness.server.portDetached(66, now: harness.now)
        #expect(harness.server.table.usage(of: guest(1), now: harness.now).free == 40)
    }

    @Test func clientCannotDeclineWholePool() {
        var harness = DHCPHarness(last: 11)
        for number in 0..<50 {
            _ = harness.send(harness.message(.discover, mac(100 + number)), at: guest(66))
            guard let offer = harness.wait(second).last else { continue }
            let decline = harness.message(.decline, mac(100 + number)) {
                $0.set(.requestedAddress, [offer.yourAddress])
                $0.set(.serverIdentifier, [ip(1)])
            }
            _ = harness.send(decline, at: guest(66))
        }
        #expect(harness.server.table.usage(of: guest(66), now: harness.now) == (5, 5))
        for number in 1...5 { #expect(harness.lease(mac(number), at: guest(number)) != nil) }
    }

    @Test func forgedClaimsDoNotHideARealOne() {
        var harness = DHCPHarness { $0.last = IPv4Address("192.168.255.254")! }
        for number in 0..<5000 { harness.arp(.request, from: mac(9), ip(2).advanced(by: 1000 + number), at: guest(66)) }
        _ = harness.send(harness.message(.discover, mac(1)), at: guest(1))
        harness.arp(.reply, from: mac(77), ip(2), at: guest(7))
        #expect(harness.wait(second).last?.yourAddress == ip(3))
    }

    @Test func discoverFloodLeavesSlotsForOtherPorts() {
        var harness = DHCPHarness { $0.last = IPv4Address("192.168.255.254")! }
        for number in 0..<1000 { _ = harness.send(harness.message(.discover, mac(1000 + number)), at: guest(66)) }
        for number in 1..<60 { _ = harness.send(harness.message(.discover, mac(number)), at: guest(number)) }
        let offered = Set(harness.wait(second).map(\.clientHardware))
        #expect((1..<60).allSatisfy { offered.contains(mac($0)) })
    }

    @Test func otherPortCannotEndALease() {
        var harness = DHCPHarness()
        #expect(harness.lease(mac(1), at: guest(1)) == ip(2))
        let release = harness.message(.release, mac(1)) {
            $0.clientAddress = ip(2)
            $0.set(.serverIdentifier, [ip(1)])
        }
        _ = harness.send(release, from: ip(2), to: ip(1), at: guest(66))
        #expect(harness.server.table.running(at: harness.now) == 1)
        let decline = harness.message(.decline, mac(1)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        _ = harness.send(decline, at: guest(66))
        #expect(harness.server.table.running(at: harness.now) == 1)
        _ = harness.send(release, from: ip(2), to: ip(1), at: guest(1))
        #expect(harness.server.table.running(at: harness.now) == 0)
    }

    // MARK: Ports that are gone

    @Test func addressesOfDetachedPortsAreReusedLastOldestFirst() {
        var harness = DHCPHarness(last: 6)
        for number in 1...5 { #expect(harness.lease(mac(number), at: guest(number)) == ip(number + 1)) }
        for number in [3, 1, 2] {
            harness.now += second
            harness.server.portDetached(UInt16(number), now: harness.now)
        }
        #expect(harness.lease(mac(11), at: guest(11)) == ip(4))
        #expect(harness.lease(mac(12), at: guest(12)) == ip(2))
        // One that comes back in time has its own again.
        #expect(harness.lease(mac(2), at: guest(22)) == ip(3))
        #expect(harness.lease(mac(13), at: guest(13)) == nil, "the others are there")
        // One that comes too late gets another, when there is one.
        harness.server.portDetached(5, now: harness.now)
        #expect(harness.lease(mac(3), at: guest(33)) == ip(6))
    }

    @Test func addressIsNotReusedWhileItsClientAnswersElsewhere() {
        var harness = DHCPHarness(last: 3)
        for number in 1...2 { harness.lease(mac(number), at: guest(number)) }
        harness.server.portDetached(1, now: harness.now)
        // Moved to another port, without a word to the server.
        _ = harness.send(harness.message(.discover, mac(9)), at: guest(9))
        harness.arp(.reply, from: mac(1), ip(2), at: guest(21))
        #expect(harness.wait(second).isEmpty)
        #expect(harness.server.table.presence(on: ip(2)) == .at(guest(21)))
        #expect(harness.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func clientThatReturnsInTimeKeepsItsAddress() throws {
        var harness = DHCPHarness(last: 2)
        harness.lease(mac(1), at: guest(1))
        harness.server.portDetached(1, now: harness.now)
        _ = harness.send(harness.message(.discover, mac(9)), at: guest(9))
        let offer = try #require(harness.wait(second).last)
        #expect(offer.yourAddress == ip(2))
        harness.arp(.request, from: mac(1), ip(2), at: guest(21))
        #expect(harness.send(harness.selecting(offer), at: guest(9)).map(\.kind) == [.nak])
        #expect(harness.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func clientsOfExternalSwitchHaveNoDetachablePort() {
        var harness = DHCPHarness(last: 3)
        for number in 1...2 { harness.lease(mac(number)) }
        harness.server.portDetached(0, now: harness.now)
        #expect(harness.lease(mac(9)) == nil)
    }

    @Test func detachedPortCanOnlyRelease() {
        var harness = DHCPHarness()
        harness.lease(mac(1), at: guest(1))
        #expect(
            (harness.send(harness.message(.discover, mac(2)), at: guest(1), isAttached: false) + harness.wait(second))
                .isEmpty
        )
        let release = harness.message(.release, mac(1)) { $0.clientAddress = ip(2) }
        _ = harness.send(release, from: ip(2), to: ip(1), at: guest(1), isAttached: false)
        #expect(harness.server.table.running(at: harness.now) == 0)
    }

    @Test func leasesFromBeforeARestartAreReusedLast() {
        let old = Lease(
            address: ip(2), client: ClientIdentity(hardware: mac(1)), hardware: mac(1), hostName: "",
            expires: .distantPast + .seconds(5_000))
        var harness = DHCPHarness(last: 3, leases: [old]) { $0.hasKnownPorts = true }
        #expect(harness.lease(mac(2), at: guest(2)) == ip(3))
        harness.server.portDetached(2, now: harness.now)
        #expect(harness.lease(mac(3), at: guest(3)) == ip(3))
        #expect(harness.lease(mac(4), at: guest(4)) == ip(2))
    }
}
