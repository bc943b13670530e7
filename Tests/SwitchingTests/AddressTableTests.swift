// SPDX-License-Identifier: Apache-2.0
import Switching
import TestSupport
import Testing
import Timing
import Wire

/// The table behind a reference, which expectations can capture.
private final class Table {
    private var table = AddressTable(ports: 8)

    func lookup(_ key: AddressTable.Key, now: CoarseInstant) -> PortNumber? { table.lookup(key, now: now) }
    @discardableResult
    func learn(_ key: AddressTable.Key, at port: PortNumber, now: CoarseInstant) -> AddressTable.Learning {
        table.learn(key, at: port, now: now)
    }
    func addStatic(_ key: AddressTable.Key, at port: PortNumber) { table.addStatic(key, at: port) }
    func forget(_ port: PortNumber) { table.forget(port) }
    func count(at port: PortNumber) -> Int { table.count(at: port) }
    func moves(now: CoarseInstant) -> [UInt64: [Int]] {
        Dictionary(
            uniqueKeysWithValues: table.all(now: now).map {
                ($0.address.value & 0xffff, [Int($0.moves), $0.previousPort.map(Int.init) ?? -1])
            })
    }
}

@Suite struct AddressTableTests {
    private func key(_ number: UInt64) -> AddressTable.Key {
        AddressTable.key(MACAddress(0x0200_0000_0000 | number), vlan: 0)
    }

    @Test func learnedAddressesAreFoundUntilTheyAge() {
        let table = Table()
        #expect(table.lookup(key(1), now: 10) == nil)
        #expect(table.learn(key(1), at: 3, now: 10) == .accepted)
        #expect(table.lookup(key(1), now: 10) == 3)
        #expect(table.lookup(key(1), now: 309) == 3)
        #expect(table.lookup(key(1), now: 310) == nil)
        #expect(table.learn(key(1), at: 3, now: 400) == .accepted)
        #expect(table.lookup(key(1), now: 401) == 3)
    }

    @Test func addressesMoveAtOnce() {
        let table = Table()
        table.learn(key(1), at: 3, now: 10)
        table.learn(key(1), at: 4, now: 10)
        #expect(table.lookup(key(1), now: 10) == 4)
        #expect(table.count(at: 3) == 0 && table.count(at: 4) == 1)
    }

    @Test func movesAreCountedUntilTheAddressSettles() {
        let table = Table()
        table.learn(key(1), at: 3, now: 10)
        #expect(table.moves(now: 10) == [1: [0, -1]])
        for (now, port) in [(11, 4), (60, 3), (120, 4)] as [(CoarseInstant, PortNumber)] {
            table.learn(key(1), at: port, now: now)
        }
        #expect(table.moves(now: 180) == [1: [3, 3]])
        #expect(table.moves(now: 181) == [1: [0, -1]])
        table.learn(key(1), at: 5, now: 181)
        #expect(table.moves(now: 181) == [1: [1, 4]])
        table.forget(4)
        #expect(table.moves(now: 181) == [1: [0, -1]])
    }

    @Test func movesOfManyAddressesAreBounded() {
        let table = Table()
        for port in [1, 2] as [PortNumber] {
            for number in 0..<200 {
                table.learn(key(UInt64(number)), at: port, now: CoarseInstant(seconds: UInt32(Int(port) + number / 8)))
            }
        }
        // The latest are known.
        let moved = table.moves(now: 30).filter { $0.value[0] > 0 }
        #expect(moved.count == 64 && moved[199] == [1, 1] && moved[0] == nil)
    }

    @Test func oneAddressInTwoVLANsIsTwoEntries() {
        let table = Table()
        let address = MACAddress(0x0200_0000_0001)
        table.learn(AddressTable.key(address, vlan: 5), at: 1, now: 0)
        table.learn(AddressTable.key(address, vlan: 6), at: 2, now: 0)
        #expect(table.lookup(AddressTable.key(address, vlan: 5), now: 0) == 1)
        #expect(table.lookup(AddressTable.key(address, vlan: 6), now: 0) == 2)
        #expect(table.lookup(AddressTable.key(address, vlan: 0), now: 0) == nil)
    }

    @Test func staticAddressesNeitherMoveNorAge() {
        let table = Table()
        table.addStatic(key(1), at: 2)
        #expect(table.learn(key(1), at: 3, now: 10) == .staticElsewhere)
        #expect(table.learn(key(1), at: 2, now: 10) == .accepted)
        #expect(table.lookup(key(1), now: 4_000_000_000) == 2)
        table.forget(2)
        #expect(table.lookup(key(1), now: 10) == nil)
    }

    @Test func thousandsOfAddressesFit() {
        // Every table has its own random factor, and none may be a bad one.
        for _ in 0..<50 {
            let table = Table()
            for number in 0..<4000 { table.learn(key(UInt64(number)), at: PortNumber(number % 7), now: 0) }
            let found = (0..<4000).count { table.lookup(key(UInt64($0)), now: 1) == PortNumber($0 % 7) }
            #expect(found >= 3900, "half full, almost everything is there: \(found)")
        }
    }

    @Test func floodOfAddressesCostsItsPortOnly() {
        let table = Table()
        for number in 0..<100 { table.learn(key(UInt64(number)), at: 1, now: 0) }
        table.addStatic(key(5000), at: 2)
        for number in 0..<200_000 {
            table.learn(AddressTable.key(MACAddress(0x0600_0000_0000 | UInt64(number)), vlan: 0), at: 7, now: 1)
        }
        #expect(
            (0..<100).allSatisfy { table.lookup(key(UInt64($0)), now: 2) == 1 },
            "the neighbour's addresses are still known")
        #expect(table.lookup(key(5000), now: 2) == 2)
        #expect(table.count(at: 7) <= AddressTable.capacity - 101)
        // A new address still finds a slot.
        for number in 100..<200 { table.learn(key(UInt64(number)), at: 3, now: 2) }
        #expect((100..<200).allSatisfy { table.lookup(key(UInt64($0)), now: 2) == 3 })
    }

    @Test func forgettingAPortForgetsItsAddressesOnly() {
        let table = Table()
        for number in 0..<500 { table.learn(key(UInt64(number)), at: PortNumber(1 + number % 2), now: 0) }
        table.forget(1)
        #expect(table.count(at: 1) == 0)
        #expect((0..<500).allSatisfy { table.lookup(key(UInt64($0)), now: 0) == ($0 % 2 == 0 ? nil : 2) })
    }
}
