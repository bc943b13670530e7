// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing
import Timing
import Wire

@Suite struct PinTableTests {
    private let one = MACAddress(0x5254_0000_0001), two = MACAddress(0x5254_0000_0002)
    private let name = DNSName("site.example")!
    private let start = Instant(nanoseconds: 1_000_000_000)

    private func pin(_ guest: MACAddress, _ last: Int, _ scope: EgressPin.Scope = .tcp(443)) -> EgressPin {
        EgressPin(guest: guest, address: .ipv4(IPv4Address(0xc633_6400 + UInt32(last))), scope: scope)
    }

    @Test func pinBelongsToOneGuestAndEnds() {
        var table = PinTable()
        let change = table.insert([pin(one, 1)], of: name, until: start + .seconds(10), now: start)
        #expect(change.added == [pin(one, 1)] && change.removed.isEmpty)
        let address = pin(one, 1).address
        #expect(table.allowsTCP(one, address, 443, now: start + .seconds(9)))
        #expect(!table.allowsTCP(one, address, 443, now: start + .seconds(10)))
        #expect(!table.allowsTCP(two, address, 443, now: start) && !table.allowsTCP(one, address, 80, now: start))
        #expect(!table.allowsUDP(one, address, 443, now: start) && !table.allowsPing(one, address, now: start))
    }

    @Test func laterAnswerExtendsPinAndNoneShortensIt() {
        var table = PinTable()
        _ = table.insert([pin(one, 1)], of: name, until: start + .seconds(10), now: start)
        #expect(table.insert([pin(one, 1)], of: name, until: start + .seconds(5), now: start) == PinTable.Change())
        #expect(table.insert([pin(one, 1)], of: name, until: start + .seconds(20), now: start).added.count == 1)
        #expect(table.contains(pin(one, 1), now: start + .seconds(19)) && table.count == 1)
    }

    @Test func everyPortLeavesResolversAndQUICOut() {
        var table = PinTable()
        _ = table.insert([pin(one, 1, .everyPort)], of: name, until: start + .seconds(10), now: start)
        let address = pin(one, 1).address
        for port in [1, 80, 443, 8443] as [UInt16] { #expect(table.allowsTCP(one, address, port, now: start)) }
        for port in [1, 123, 4500] as [UInt16] { #expect(table.allowsUDP(one, address, port, now: start)) }
        #expect(table.allowsPing(one, address, now: start))
        for port in [53, 853] as [UInt16] {
            #expect(
                !table.allowsTCP(one, address, port, now: start) && !table.allowsUDP(one, address, port, now: start))
        }
        #expect(!table.allowsUDP(one, address, 443, now: start))
    }

    /// Fast flux: a name with other addresses in each answer.
    @Test func nameLosesItsOldestPins() {
        var table = PinTable()
        for last in 0..<200 {
            _ = table.insert([pin(one, last)], of: name, until: start + .seconds(100), now: start)
        }
        #expect(table.count == PinTable.Limits().perName)
        #expect(table.contains(pin(one, 199), now: start) && !table.contains(pin(one, 0), now: start))
        let huge = (0..<1000).map { pin(two, $0) }
        let change = table.insert(huge, of: name, until: start + .seconds(100), now: start)
        #expect(change.added.count == PinTable.Limits().perName && change.removed.isEmpty)
    }

    @Test func guestFillsItsOwnShareOnly() {
        var limits = PinTable.Limits()
        (limits.perName, limits.perGuest, limits.total) = (4, 8, 12)
        var table = PinTable(limits: limits)
        _ = table.insert([pin(two, 1)], of: name, until: start + .seconds(100), now: start)
        for last in 0..<100 {
            _ = table.insert(
                [pin(one, last)], of: DNSName("n\(last).example")!, until: start + .seconds(100), now: start)
        }
        #expect(table.count == 9 && table.contains(pin(two, 1), now: start))
        // A third and a fourth guest take from the one with the most.
        for guest in 3..<9 {
            let pin = pin(MACAddress(UInt64(guest)), 1)
            _ = table.insert([pin], of: name, until: start + .seconds(100), now: start)
            #expect(table.contains(pin, now: start) && table.count <= 12)
        }
        #expect(table.contains(pin(two, 1), now: start))
    }

    @Test func pinsOfForbiddenNamesAreRemoved() {
        var policy = EgressPolicy()
        policy.isDenying = true
        policy.allowed = ["site.example:443", "*.other.example:80"].compactMap { AllowedDestination($0) }
        var table = PinTable()
        _ = table.insert([pin(one, 1)], of: name, until: start + .seconds(100), now: start)
        _ = table.insert(
            [pin(one, 2, .tcp(80))], of: DNSName("a.other.example")!, until: start + .seconds(100), now: start)
        #expect(table.retain(policy).isEmpty)
        policy.allowed.removeFirst()
        #expect(table.retain(policy) == [pin(one, 1)] && table.count == 1)
        policy.allowed.removeFirst()
        #expect(table.retain(policy) == [pin(one, 2, .tcp(80))] && policy.checksNames && policy.restrictsNames)
    }

    @Test func randomInsertionsStayWithinBounds() {
        var generator = SeededGenerator(seed: 7)
        var limits = PinTable.Limits()
        (limits.perName, limits.perGuest, limits.total) = (3, 6, 20)
        var table = PinTable(limits: limits)
        var present: Set<EgressPin> = []
        for step in 0..<5000 {
            let guest = MACAddress(UInt64.random(in: 1...8, using: &generator))
            let name = DNSName("n\(Int.random(in: 0...3, using: &generator)).example")!
            let pins = (0..<Int.random(in: 0...5, using: &generator)).map { _ in
                pin(guest, Int.random(in: 0...9, using: &generator))
            }
            let now = start + .seconds(Int64(step))
            let change = table.insert(
                pins, of: name, until: now + .seconds(Int64.random(in: 0...50, using: &generator)), now: now)
            present.formUnion(change.added)
            present.subtract(change.removed)
            #expect(table.count <= 20 && Set(change.added).isDisjoint(with: change.removed))
            // The kernel has what the changes have added: every pin that holds.
            let isKnown = table.pins(now: now).allSatisfy { present.contains($0.pin) }
            #expect(isKnown, "step \(step)")
        }
    }
}
