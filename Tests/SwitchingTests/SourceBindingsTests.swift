// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire
@testable import Switching

@Suite struct SourceBindingsTests {
    private func address(_ number: UInt64) -> IPv6Address { IPv6Address(0xfd00 << 48, number) }
    private func station(_ port: PortNumber, _ hardware: UInt64? = nil) -> Station {
        Station(port: port, hardware: mac(hardware ?? UInt64(port)))
    }

    private func made(_ ports: PortNumber, shared: Set<PortNumber> = []) -> SourceBindings {
        var bindings = SourceBindings(ports: Int(ports))
        for port in 1..<ports { bindings.attach(port, group: 0, isShared: shared.contains(port)) }
        return bindings
    }

    /// Claims an address once a second until it is had or time is up. Returns how long it took.
    private func contest(
        _ bindings: inout SourceBindings, _ address: IPv6Address, by station: Station, from start: CoarseInstant,
        limit: TimeAmount = .seconds(200), every pause: Int = 1
    ) -> TimeAmount? {
        for now in stride(from: start, to: start + limit, by: pause)
        where bindings.claim(address, by: station, now: now) == nil { return now - start }
        return nil
    }

    @Test func addressesOfGuestsAreListed() {
        var bindings = made(4)
        for (number, port) in [(3, 2), (1, 1), (2, 1)] as [(UInt64, PortNumber)] {
            let refusal = bindings.claim(address(number), by: station(port), now: 10)
            #expect(refusal == nil)
        }
        let hasRoom = bindings.claim(IPv4Address("192.0.2.1")!, by: station(3), now: 10)
        #expect(hasRoom)
        let all = bindings.all()
        #expect(
            all
                == [(1, 1), (2, 1), (3, 2)].map {
                    KnownSource(address: address($0.0), station: station($0.1))
                })
    }

    @Test func addressesOfAGuestAreTheMostStableFirst() {
        var bindings = made(4, shared: [3])
        let network = IPv6Network(containing: address(0), prefixLength: 64), hardware = mac(1)
        let made = IPv6Address(address(0).high, IPv6Address(linkLocalFrom: hardware).low)
        for (now, used) in [
            (10, address(3)), (20, address(2)), (30, made), (40, IPv6Address(linkLocalFrom: hardware)),
            (50, address(4)), (500, address(2)),
        ] as [(CoarseInstant, IPv6Address)] {
            let refusal = bindings.claim(used, by: station(1, hardware.value), now: now)
            #expect(refusal == nil)
        }
        // The same hardware address at another port, and another one at the same shared port.
        for (number, other) in [(5, station(2, hardware.value)), (6, station(3, 7)), (7, station(3, 8))] {
            let refusal = bindings.claim(address(UInt64(number)), by: other, now: 500)
            #expect(refusal == nil)
        }
        func found(_ station: Station, age: Int64) -> [IPv6Address] {
            bindings.addresses(of: station, in: network, age: .seconds(age), now: 510)
        }
        let first = station(1, hardware.value)
        let all = found(first, age: 500), recent = found(first, age: 470), last = found(first, age: 10)
        #expect(all == [made, address(3), address(2), address(4)])
        #expect(recent == [address(2), address(4)], "\(recent)")
        #expect(last == [address(2)])
        #expect(found(station(1, 9), age: 500).isEmpty && found(station(3, 8), age: 500) == [address(7)])
        bindings.detach(1)
        #expect(found(first, age: 500).isEmpty)
    }

    @Test func firstUserHoldsAnAddress() {
        var bindings = made(4)
        #expect(bindings.claim(address(1), by: station(1), now: 10) == nil)
        let refusal = bindings.claim(address(1), by: station(2), now: 11)
        #expect(
            refusal
                == SourceBindings.Refusal(
                    holder: 1, isNew: false,
                    solicitation: SourceBindings.Solicitation(address: address(1), holder: station(1)))
        )
        #expect(
            bindings.claim(address(1), by: station(2), now: 11)?.solicitation == nil,
            "a solicitation was sent just now")
        // One guest may use several hardware addresses, and the last one is solicited.
        #expect(
            bindings.claim(address(1), by: station(1, 77), now: 12) == nil
                && bindings.holder(of: address(1)) == station(1, 77))
        bindings.detach(1)
        #expect(
            bindings.claim(address(1), by: station(2), now: 12) == nil
                && bindings.claim(address(1), by: station(3), now: 12) != nil)
    }

    @Test func holderThatAnswersKeepsItsAddress() {
        var bindings = made(4)
        _ = bindings.claim(address(1), by: station(1), now: 10)
        for now in 11..<10_000 as Range<CoarseInstant> {
            let refusal = bindings.claim(address(1), by: station(2), now: now)
            #expect(refusal != nil, "\(now)")
            if refusal?.solicitation != nil { #expect(bindings.claim(address(1), by: station(1), now: now) == nil) }
        }
        // Idle for days, too: only unanswered questions count, however long ago the first was.
        #expect(bindings.claim(address(1), by: station(2), now: 500_000)?.solicitation != nil)
        for now in stride(from: 600_000, to: 1_200_000, by: 100_000) as StrideTo<CoarseInstant> {
            #expect(bindings.claim(address(1), by: station(2), now: now)?.solicitation != nil)
        }
        // The clock goes on while the host sleeps.
        #expect(bindings.claim(address(1), by: station(2), now: 2_000_000)?.solicitation != nil)
    }

    @Test func silentHolderLosesItsAddressWithinAMinute() throws {
        for pause in [1, 2, 3, 5, 10] {
            var bindings = made(4)
            _ = bindings.claim(address(1), by: station(1), now: 10)
            let took = try #require(contest(&bindings, address(1), by: station(2), from: 1000, every: pause))
            #expect((SourceBindings.answerTimeout ... .minutes(1)).contains(took), "\(pause): \(took)")
            #expect(bindings.count(at: 1) == 0 && bindings.count(at: 2) == 1)
            // The other way round it takes as long.
            #expect(
                contest(
                    &bindings, address(1), by: station(1), from: CoarseInstant(seconds: 1000) + took,
                    limit: SourceBindings.answerTimeout)
                    == nil)
        }
        // A claim for which none could be sent does not count.
        var bindings = made(4)
        _ = bindings.claim(address(1), by: station(1), now: 10)
        for now in 11..<1000 as Range<CoarseInstant> {
            #expect(bindings.claim(address(1), by: station(2), maySolicit: false, now: now) != nil)
        }
    }

    @Test func groupMembersShareAddresses() {
        var bindings = SourceBindings(ports: 8)
        for port in 1...3 as ClosedRange<PortNumber> {
            bindings.attach(port, group: port < 3 ? 1 : 2, isShared: false)
        }
        #expect(
            bindings.claim(address(1), by: station(1), now: 1) == nil
                && bindings.claim(address(1), by: station(2), now: 1) == nil)
        #expect(bindings.claim(address(1), by: station(3), now: 1) != nil)
        bindings.detach(1)
        #expect(
            bindings.claim(address(1), by: station(2), now: 1) == nil
                && bindings.claim(address(1), by: station(3), now: 1) != nil)
    }

    @Test func hardwareAddressCountsBehindATrunk() {
        var bindings = made(4, shared: [1])
        #expect(bindings.claim(address(1), by: station(1, 11), now: 1) == nil)
        #expect(bindings.claim(address(1), by: station(1, 12), now: 1)?.solicitation?.holder == station(1, 11))
        for number in 0..<2000 as Range<UInt64> {
            #expect(
                bindings.claim(
                    address(100 + number), by: station(1, 100 + number / 16),
                    now: CoarseInstant(seconds: 9 + UInt32(number)))
                    == nil)
        }
        #expect(bindings.count(at: 1) == SourceBindings.sharedShare)
    }

    /// Each guest behind a trunk has a guest's share, and all together do not fill the host's table either.
    @Test func guestsBehindATrunkCannotRotateThroughAddresses() {
        var bindings = made(4, shared: [1])
        func claims(_ numbers: Range<UInt64>, by hardware: (UInt64) -> UInt64, now: CoarseInstant) -> Int {
            numbers.count { bindings.claim(address($0), by: station(1, hardware($0)), now: now) == nil }
        }
        let share = SourceBindings.guestShare, all = SourceBindings.sharedShare
        #expect(claims(0..<4096, by: { _ in 11 }, now: 100) == share)
        #expect(claims(5000..<5010, by: { _ in 12 }, now: 100) == 10, "another guest has room")
        #expect(claims(0..<4096, by: { _ in 11 }, now: 104) == share, "the same")
        #expect(claims(6000..<7000, by: { _ in 11 }, now: 109) == share, "after five seconds")
        // With a forged hardware address for each.
        let rest = all - share, fresh = Int(SourceBindings.freshReplacements)
        #expect(claims(10_000..<20_000, by: { $0 }, now: 120) == all + fresh)
        for second in 1...4 {
            #expect(
                claims(
                    20_000..<30_000, by: { 20_000 * UInt64(second) + $0 },
                    now: CoarseInstant(seconds: 120).advanced(by: second)) == fresh)
        }
        #expect(bindings.count(at: 1) == all && all + 5 * fresh < 1024 && rest > 0)
    }

    /// They count beside IPv6 addresses, and are no guest's alone.
    @Test func unleasedIPv4AddressesCount() {
        var bindings = made(4, shared: [3])
        func claims(_ port: PortNumber, _ numbers: Range<UInt32>, hardware: UInt64? = nil, now: CoarseInstant) -> Int {
            numbers.count {
                bindings.claim(IPv4Address(0x0a00_0000 + $0), by: station(port, hardware), now: now)
            }
        }
        #expect(bindings.claim(address(1), by: station(1), now: 100) == nil)
        #expect(claims(1, 0..<4096, now: 100) == 31 && claims(2, 0..<4096, now: 100) == 32)
        #expect(claims(3, 0..<4096, hardware: 5, now: 100) == 32 && claims(3, 0..<4096, hardware: 6, now: 100) == 32)
        #expect(bindings.claim(address(2), by: station(1), now: 104) != nil)
        #expect(claims(1, 0..<31, now: 104) == 31 && claims(1, 100..<200, now: 105) == 1)
        bindings.detach(2)
        #expect(bindings.count(at: 2) == 0)
    }

    @Test func sharedPortsReuseRegions() {
        var bindings = SourceBindings(ports: 1024)
        for round in 0..<3 {
            for port in 1...70 as ClosedRange<PortNumber> { bindings.attach(port, group: 0, isShared: true) }
            for port in 1...70 as ClosedRange<PortNumber> {
                for number in 0..<600 as Range<UInt64> {
                    let guest = station(port, UInt64(port) << 16 | number / 16)
                    _ = bindings.claim(
                        address(UInt64(port) << 16 | number), by: guest, now: CoarseInstant(seconds: UInt32(round)))
                }
                #expect(
                    bindings.count(at: port) == (port <= 64 ? SourceBindings.sharedShare : SourceBindings.guestShare))
            }
            for port in (1...70 as ClosedRange<PortNumber>).reversed() { bindings.detach(port) }
        }
    }

    @Test func fullShareReplacesItsOldestBinding() {
        var bindings = made(4)
        for number in 0..<32 as Range<UInt64> {
            _ = bindings.claim(address(number), by: station(1), now: CoarseInstant(seconds: 100 + UInt32(number)))
        }
        _ = bindings.claim(address(0), by: station(1), now: 200)
        _ = bindings.claim(address(99), by: station(1), now: 201)
        #expect(
            bindings.holder(of: address(1)) == nil && bindings.holder(of: address(0)) != nil
                && bindings.count(at: 1) == 32)
        #expect(bindings.claim(address(1), by: station(2), now: 201) == nil)
    }

    /// The host learns each address, and drops none within five seconds.
    @Test func guestCannotRotateThroughAddresses() {
        var bindings = made(4)
        func claims(_ numbers: Range<UInt64>, now: CoarseInstant) -> Int {
            numbers.count { bindings.claim(address($0), by: station(1), now: now) == nil }
        }
        #expect(claims(0..<4096, now: 100) == 32 && claims(4096..<8192, now: 104) == 0)
        #expect(bindings.claim(address(5000), by: station(1), now: 104)?.holder == .some(nil))
        // What it uses stays its own, and other guests have room.
        #expect(claims(0..<32, now: 104) == 32 && bindings.claim(address(9000), by: station(2), now: 104) == nil)
        #expect(claims(4096..<8192, now: 105) == 0 && claims(4096..<8192, now: 109) == 32)
    }

    /// Random claims of guests, some of which answer, come and go: beside a model of what each holds.
    @Test(arguments: [1, 2, 3, 4] as [UInt64]) func noAddressHasTwoHolders(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        let ports: PortNumber = 24, addresses: UInt64 = 400, shared: Set<PortNumber> = [7, 8]
        var bindings = made(ports, shared: shared)
        var now: CoarseInstant = 1000
        /// When the holder of an address used it last: it must be left alone for as long as it answers.
        var used: [UInt64: (station: Station, at: CoarseInstant)] = [:]
        var solicited: [UInt64: Int] = [:]
        for step in 0..<60_000 {
            if Int.random(in: 0..<40, using: &random) == 0 { now = now + .seconds(.random(in: 1...20, using: &random)) }
            let port = PortNumber.random(in: 1..<ports, using: &random)
            if Int.random(in: 0..<400, using: &random) == 0 {
                bindings.detach(port)
                bindings.attach(port, group: 0, isShared: shared.contains(port))
                #expect(bindings.count(at: port) == 0)
                for (number, use) in used where use.station.port == port { used[number] = nil }
                continue
            }
            // Some guests use few addresses, some all that there are.
            let number = UInt64.random(in: 0..<(port % 3 == 0 ? addresses : 12), using: &random)
            let claimant = station(port, shared.contains(port) ? UInt64.random(in: 50...52, using: &random) : nil)
            let before = bindings.holder(of: address(number)), held = bindings.count(at: port)
            let refusal = bindings.claim(
                address(number), by: claimant, isDetection: Bool.random(using: &random), maySolicit: step % 3 > 0,
                now: now)
            let after = bindings.holder(of: address(number))
            let isOwn = before.map { $0.port == port && (!shared.contains(port) || $0 == claimant) } ?? true
            if refusal == nil {
                #expect(after == claimant, "a permitted claimant holds it")
                if !isOwn, let use = used[number] {
                    #expect(
                        now - use.at >= SourceBindings.answerTimeout
                            && solicited[number, default: 0] >= SourceBindings.maximumSolicitations,
                        "step \(step)")
                }
                used[number] = (claimant, now)
                solicited[number] = 0
            } else {
                let isFull =
                    refusal?.holder == nil && before == nil
                    && (shared.contains(port) ? held >= SourceBindings.guestShare : held == SourceBindings.guestShare)
                #expect((!isOwn || isFull) && after == before, "step \(step)")
                if let question = refusal?.solicitation {
                    #expect(question.holder == before && question.address == address(number))
                    solicited[number, default: 0] += 1
                    // Guests with even numbers are alive.
                    if question.holder.port % 2 == 0 {
                        #expect(bindings.claim(address(number), by: question.holder, now: now) == nil)
                        used[number] = (question.holder, now)
                        solicited[number] = 0
                    }
                }
            }
            #expect(
                bindings.count(at: port)
                    <= (shared.contains(port) ? SourceBindings.sharedShare : SourceBindings.guestShare))
            // What a full share has given up is not held any more.
            if before == nil && bindings.count(at: port) == held {
                for other in 0..<addresses where used[other] != nil && bindings.holder(of: address(other)) == nil {
                    used[other] = nil
                }
            }
        }
        // A guest that comes now finds room, whatever the others have done.
        let newcomer = station(ports - 1, 999)
        bindings.detach(newcomer.port)
        bindings.attach(newcomer.port, group: 0, isShared: false)
        for number in 0..<32 as Range<UInt64> {
            #expect(bindings.claim(IPv6Address(0x2001 << 48, number), by: newcomer, now: now) == nil)
        }
        for number in 0..<32 as Range<UInt64> {
            #expect(bindings.holder(of: IPv6Address(0x2001 << 48, number)) == newcomer)
        }
        // All that is held is found, and nothing else.
        let found = (0..<addresses).compactMap { bindings.holder(of: address($0)) }
        #expect(found.count + 32 == (1..<ports).reduce(0) { $0 + bindings.count(at: $1) })
    }
}
