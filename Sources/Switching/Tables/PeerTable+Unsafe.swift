// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// The port of the sender of a datagram, by the name that it has bound and the listener that it has sent to. Open
/// addressing; names never move.
@safe
struct PeerTable: ~Copyable {
    /// Room for a name, after its length and its listener.
    private static let nameStride = 128
    private static let nameOffset = 8

    private let names: UnsafeMutableRawPointer
    private let hashes: UnsafeMutablePointer<UInt64>
    /// The port in each slot; 0, which is the services', for an empty one.
    private let slots: UnsafeMutablePointer<PortNumber>
    private let mask: Int
    private let seed: UInt64 = Random.value()
    private var known: Set<PortNumber> = []

    init(ports: Int) {
        // Half empty at least.
        var count = 16
        while count < 2 * ports { count *= 2 }
        mask = count - 1
        unsafe names = .allocate(byteCount: ports * PeerTable.nameStride, alignment: 64)
        unsafe hashes = .allocate(capacity: count)
        unsafe slots = .allocate(capacity: count)
        unsafe hashes.initialize(repeating: 0, count: count)
        unsafe slots.initialize(repeating: 0, count: count)
    }

    deinit {
        unsafe names.deallocate()
        unsafe hashes.deallocate()
        unsafe slots.deallocate()
    }

    private func hash(_ name: RawSpan, _ listener: PortNumber) -> UInt64 {
        var value = seed ^ UInt64(listener)
        var position = 0
        while position + 4 <= name.byteCount {
            value = (value ^ UInt64(name.big32(at: position))) &* 0x9e37_79b9_7f4a_7c15
            value ^= value >> 32
            position += 4
        }
        while position < name.byteCount {
            value = (value ^ UInt64(name.byte(at: position))) &* 0x9e37_79b9_7f4a_7c15
            value ^= value >> 32
            position += 1
        }
        return value
    }

    private func isName(_ port: PortNumber, _ name: RawSpan, _ listener: PortNumber) -> Bool {
        let block = unsafe names + Int(port) * PeerTable.nameStride
        guard unsafe Int(block.load(as: UInt16.self)) == name.byteCount,
            unsafe block.load(fromByteOffset: 2, as: PortNumber.self) == listener
        else { return false }
        for index in 0..<name.byteCount
        where unsafe block.load(fromByteOffset: PeerTable.nameOffset + index, as: UInt8.self) != name.byte(at: index) {
            return false
        }
        return true
    }

    /// The port of the sender with this name at this listener; nil for an unknown peer.
    func find(_ name: RawSpan, at listener: PortNumber) -> PortNumber? {
        let value = hash(name, listener)
        var slot = Int(truncatingIfNeeded: value) & mask
        while unsafe slots[slot] != 0 {
            if unsafe hashes[slot] == value && isName(slots[slot], name, listener) { return unsafe slots[slot] }
            slot = (slot + 1) & mask
        }
        return nil
    }

    mutating func insert(_ port: PortNumber, _ name: [UInt8], at listener: PortNumber) {
        guard name.count <= PeerTable.nameStride - PeerTable.nameOffset, find(name.rawSpan, at: listener) == nil else {
            return
        }
        let block = unsafe names + Int(port) * PeerTable.nameStride
        unsafe block.storeBytes(of: UInt16(name.count), as: UInt16.self)
        unsafe block.storeBytes(of: listener, toByteOffset: 2, as: PortNumber.self)
        for (index, byte) in name.enumerated() {
            unsafe block.storeBytes(of: byte, toByteOffset: PeerTable.nameOffset + index, as: UInt8.self)
        }
        known.insert(port)
        place(port, hash(name.rawSpan, listener))
    }

    private func place(_ port: PortNumber, _ value: UInt64) {
        var slot = Int(truncatingIfNeeded: value) & mask
        while unsafe slots[slot] != 0 { slot = (slot + 1) & mask }
        unsafe slots[slot] = port
        unsafe hashes[slot] = value
    }

    mutating func remove(_ port: PortNumber) {
        guard known.remove(port) != nil else { return }
        // Rare, and few entries: the table is rebuilt from the others.
        var others: [(PortNumber, UInt64)] = []
        for slot in 0...mask {
            if unsafe slots[slot] != 0 && slots[slot] != port { unsafe others.append((slots[slot], hashes[slot])) }
            unsafe slots[slot] = 0
        }
        for (port, value) in others { place(port, value) }
    }
}
