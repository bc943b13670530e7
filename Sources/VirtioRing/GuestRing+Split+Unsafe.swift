// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform

// A split virtqueue (virtio 1.2 section 2.7): a table of descriptors, the available ring as `driverArea`, and the used
// ring as `deviceArea`.
extension GuestRing {
    /// Offsets and sizes of virtio 1.2 sections 2.7.6 to 2.7.8.
    private enum Layout {
        static let usedElement = 8, usedLength = 4
        static let index = 2, ring = 4
    }

    /// Of virtio 1.2 section 2.7.5.
    @safe
    private struct ChainDescriptor {
        let address: UInt64
        let length: UInt32
        let flags: UInt16
        let next: UInt16

        /// Reads each word once.
        @inline(__always)
        init(at place: UnsafeRawPointer) {
            unsafe address = platform_load_word(place)
            let rest = unsafe platform_load_word(place + 8)
            length = UInt32(truncatingIfNeeded: rest)
            flags = UInt16(truncatingIfNeeded: rest >> 32)
            next = UInt16(truncatingIfNeeded: rest >> 48)
        }
    }

    /// Bytes of the available and the used ring, each with one word more for the event index.
    static func splitAreas(_ size: Int) -> (driver: Int, device: Int) {
        (Layout.ring + 2 * size + 2, Layout.ring + Layout.usedElement * size + 2)
    }

    mutating func beginSplit(at base: UInt32) {
        cursor.next = UInt16(truncatingIfNeeded: base)
        limit = cursor.next
        usedIndex = unsafe platform_load_acquire(deviceArea + Layout.index)
    }

    mutating func availableSplitCount() -> Int? {
        limit = unsafe platform_load_acquire(driverArea + Layout.index)
        let count = knownCount
        return count <= size ? count : nil
    }

    @inline(__always)
    func splitAddress(ahead distance: Int) -> UInt64? {
        let slot = Int(cursor.next &+ UInt16(distance)) & (size - 1)
        let head = unsafe Int(platform_load_acquire(driverArea + Layout.ring + 2 * slot))
        guard head < size else { return nil }
        let entry = unsafe ChainDescriptor(at: descriptors + head * GuestRing.descriptorLength)
        return entry.flags & Flag.indirect == 0 ? entry.address : nil
    }

    mutating func takeSplit(isWritable: Bool, into pieces: inout PieceList) -> RingChain? {
        let slot = Int(cursor.next) & (size - 1)
        let head = unsafe platform_load_acquire(driverArea + Layout.ring + 2 * slot)
        cursor.next &+= 1
        guard let length = collect(head, isWritable: isWritable, into: &pieces) else { return nil }
        return RingChain(identifier: head, entries: 1, length: length)
    }

    private func collect(_ head: UInt16, isWritable: Bool, into pieces: inout PieceList) -> Int? {
        var table = unsafe UnsafeRawPointer(descriptors)
        var tableSize = size
        var index = Int(head)
        var isIndirect = false
        var total = 0
        // A chain is no longer than the ring (section 2.7.5.3.1), so a loop ends here.
        for _ in 0...size {
            guard index < tableSize else { return nil }
            let entry = unsafe ChainDescriptor(at: table + index * GuestRing.descriptorLength)
            if entry.flags & Flag.indirect != 0 {
                guard !isIndirect, entry.flags & Flag.next == 0,
                    let part = unsafe self.table(at: entry.address, length: entry.length)
                else { return nil }
                unsafe (table, tableSize) = (part.start, part.count)
                index = 0
                isIndirect = true
                continue
            }
            guard (entry.flags & Flag.write != 0) == isWritable,
                append(at: entry.address, length: entry.length, to: &pieces)
            else { return nil }
            total += Int(entry.length)
            if entry.flags & Flag.next == 0 { return total }
            index = Int(entry.next)
        }
        return nil
    }

    mutating func completeSplit(_ chain: RingChain, length: Int) {
        let slot = Int(usedIndex) & (size - 1)
        let element = unsafe deviceArea + Layout.ring + Layout.usedElement * slot
        unsafe element.storeBytes(of: UInt32(chain.identifier), as: UInt32.self)
        unsafe element.storeBytes(
            of: UInt32(truncatingIfNeeded: length), toByteOffset: Layout.usedLength, as: UInt32.self)
        usedIndex &+= 1
        unpublished &+= 1
    }

    /// Of section 2.7.7.2.
    func publishSplit() -> Bool {
        unsafe platform_store_release(deviceArea + Layout.index, usedIndex)
        platform_fence()
        if !usesEvents { return unsafe platform_load_acquire(driverArea) & 1 == 0 }
        let event = unsafe platform_load_acquire(driverArea + Layout.ring + 2 * size)
        return (usedIndex &- event &- 1) < unpublished
    }

    func announceSplit(_ isNeeded: Bool) -> Bool {
        if usesEvents {
            // An index that was passed is announced no more.
            guard isNeeded else { return false }
            unsafe platform_store_release(deviceArea + Layout.ring + Layout.usedElement * size, limit)
        } else {
            unsafe platform_store_release(deviceArea, isNeeded ? 0 : 1)
        }
        platform_fence()
        return unsafe isNeeded && platform_load_acquire(driverArea + Layout.index) != limit
    }
}
