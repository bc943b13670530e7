// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// Number of a port of the switch.
@usableFromInline
package typealias PortNumber = UInt16

/// An entry of the address table, for the management console.
package struct KnownAddress: Equatable, Sendable {
    /// The station's hardware address.
    package let address: MACAddress
    /// The VLAN that it was learned in; 0 on a switch that is not VLAN-aware.
    package let vlan: UInt16
    /// The port at which it was last seen.
    package let port: PortNumber
    /// The bucket of the table that it is in.
    package let bucket: Int
    /// How long ago it was last seen, in whole seconds; nil for a static one.
    package let age: TimeAmount?
    /// How often it has moved between ports, without a pause of more than a minute until now; 0 if it has not.
    package let moves: UInt32
    /// The port that it was at before its last move, if `moves` is not 0.
    package let previousPort: PortNumber?
}

/// The filtering database (802.1Q clause 8.8): the port at which an address was last seen. A set-associative hash table
/// of fixed size, keyed by address and VLAN.
///
/// Entries age by comparison, there is no sweep. In a full bucket an expired entry is replaced, else the oldest entry
/// of the port with the most addresses, provided that it has more than the new entry's port: a flood of addresses costs
/// the port that sends it, not the others.
@safe
@usableFromInline
package struct AddressTable: ~Copyable {
    /// An address and the VLAN it was seen in, 0 for untagged frames; never 0 as a whole.
    @usableFromInline package typealias Key = UInt64

    @usableFromInline static let ways = 8
    @usableFromInline static let buckets = 1024
    /// Addresses that fit at most.
    package static let capacity = ways * buckets

    @usableFromInline
    struct Entry: BitwiseCopyable {
        /// `permanent` for a static entry, which never ages and never moves.
        @usableFromInline var lastSeen: CoarseInstant
        @usableFromInline var port: PortNumber
        @inlinable init(lastSeen: CoarseInstant, port: PortNumber) {
            self.lastSeen = lastSeen
            self.port = port
        }
        @inlinable static var permanent: CoarseInstant { .distantFuture }
    }

    /// The time after which an address that was not seen again is removed (IEEE 802.1Q table 8-6: 300 s).
    @usableFromInline package var ageing = TimeAmount.seconds(300)

    @usableFromInline let keys: UnsafeMutablePointer<Key>
    @usableFromInline let entries: UnsafeMutablePointer<Entry>
    @usableFromInline let seed: UInt64
    /// How many entries each port holds, expired ones included.
    @usableFromInline let population: UnsafeMutablePointer<UInt32>
    @usableFromInline let portCapacity: Int
    @usableFromInline var moves = AddressMoves()

    /// - Parameter ports: port numbers are below this.
    package init(ports: Int) {
        portCapacity = ports
        seed = Random.value() | 1
        unsafe keys = .allocate(capacity: AddressTable.capacity)
        unsafe keys.initialize(repeating: 0, count: AddressTable.capacity)
        unsafe entries = .allocate(capacity: AddressTable.capacity)
        unsafe entries.initialize(repeating: Entry(lastSeen: .distantPast, port: 0), count: AddressTable.capacity)
        unsafe population = .allocate(capacity: ports)
        unsafe population.initialize(repeating: 0, count: ports)
    }

    deinit {
        unsafe keys.deallocate()
        unsafe entries.deallocate()
        unsafe population.deallocate()
    }

    /// Bit 60 is set in every key, so that no address, not even the one of zeros, looks like an empty slot.
    @inlinable
    package static func key(_ address: MACAddress, vlan: UInt16) -> Key { address.value | UInt64(vlan) << 48 | 1 << 60 }

    @inlinable
    func bucket(of key: Key) -> Int {
        // A random odd factor keeps guests from aiming at one bucket; the fold and the second, fixed factor (2^64
        // divided by the golden ratio) spread runs of consecutive addresses evenly whatever the random one is.
        let product = key &* seed
        return Int(truncatingIfNeeded: ((product ^ product >> 32) &* 0x9e37_79b9_7f4a_7c15) >> 54) &* AddressTable.ways
    }

    @inlinable
    func isAlive(_ entry: Entry, _ now: CoarseInstant) -> Bool {
        entry.lastSeen == Entry.permanent || now - entry.lastSeen < ageing
    }

    /// The port at which an address was seen less than `ageing` ago.
    @inlinable
    package func lookup(_ key: Key, now: CoarseInstant) -> PortNumber? {
        let first = bucket(of: key)
        for way in first..<first &+ AddressTable.ways where unsafe keys[way] == key {
            let entry = unsafe entries[way]
            return isAlive(entry, now) ? entry.port : nil
        }
        return nil
    }

    /// The result of `learn`.
    @usableFromInline
    package enum Learning: BitwiseCopyable, Sendable {
        /// Known there already, or learned now.
        case accepted
        /// It was known at another port until now.
        case moved
        /// The address is static at another port: a station spoofs it.
        case staticElsewhere
    }

    /// Records that `key` was seen at `port`.
    @inlinable
    package mutating func learn(_ key: Key, at port: PortNumber, now: CoarseInstant) -> Learning {
        let first = bucket(of: key)
        for way in first..<first &+ AddressTable.ways where unsafe keys[way] == key {
            let entry = unsafe entries[way]
            if entry.port == port {
                if entry.lastSeen != now && entry.lastSeen != Entry.permanent { unsafe entries[way].lastSeen = now }
                return .accepted
            }
            if entry.lastSeen == Entry.permanent { return .staticElsewhere }
            unsafe population[Int(entry.port)] -= 1
            unsafe population[Int(port)] += 1
            unsafe entries[way] = Entry(lastSeen: now, port: port)
            moves.record(key, from: entry.port, now: now)
            return .moved
        }
        insert(key, Entry(lastSeen: now, port: port), first, now)
        return .accepted
    }

    @usableFromInline
    mutating func insert(_ key: Key, _ entry: Entry, _ first: Int, _ now: CoarseInstant) {
        var victim: Int?
        for way in first..<first + AddressTable.ways {
            if unsafe keys[way] == 0 || !isAlive(entries[way], now) {
                victim = way
                break
            }
        }
        if victim == nil {
            let own = unsafe population[Int(entry.port)]
            var most: UInt32 = 0
            for way in first..<first + AddressTable.ways {
                let candidate = unsafe entries[way]
                let holds = unsafe population[Int(candidate.port)]
                if candidate.lastSeen == Entry.permanent { continue }
                if candidate.port != entry.port && holds <= own && entry.lastSeen != Entry.permanent { continue }
                let isOlder = victim.map { unsafe candidate.lastSeen < entries[$0].lastSeen } ?? true
                if holds > most || (holds == most && isOlder) {
                    most = holds
                    victim = way
                }
            }
        }
        guard let victim else { return }
        if unsafe keys[victim] != 0 { unsafe population[Int(entries[victim].port)] -= 1 }
        unsafe keys[victim] = key
        unsafe entries[victim] = entry
        unsafe population[Int(entry.port)] += 1
    }

    /// Enters an address that stays at a port until `forget`.
    package mutating func addStatic(_ key: Key, at port: PortNumber) {
        let first = bucket(of: key)
        for way in first..<first + AddressTable.ways where unsafe keys[way] == key {
            unsafe keys[way] = 0
            unsafe population[Int(entries[way].port)] -= 1
        }
        insert(key, Entry(lastSeen: Entry.permanent, port: port), first, .distantPast)
    }

    /// Removes every address of a port, static ones too.
    package mutating func forget(_ port: PortNumber) {
        for way in 0..<AddressTable.capacity where unsafe keys[way] != 0 && entries[way].port == port {
            unsafe keys[way] = 0
        }
        unsafe population[Int(port)] = 0
        moves.forget(port)
    }

    /// Every address that is known now, in no order.
    package func all(now: CoarseInstant) -> [KnownAddress] {
        var found: [KnownAddress] = []
        for way in 0..<AddressTable.capacity where unsafe keys[way] != 0 && isAlive(entries[way], now) {
            let key = unsafe keys[way], entry = unsafe entries[way]
            let age = entry.lastSeen == Entry.permanent ? nil : now - entry.lastSeen
            let move = moves.recent(key, now: now)
            found.append(
                KnownAddress(
                    address: MACAddress(key & 0xffff_ffff_ffff), vlan: UInt16(key >> 48 & 0xfff), port: entry.port,
                    bucket: way / AddressTable.ways, age: age, moves: move?.count ?? 0, previousPort: move?.from))
        }
        return found
    }

    /// How many addresses are known to be at `port`, expired ones included.
    package func count(at port: PortNumber) -> Int { Int(unsafe population[Int(port)]) }
}
