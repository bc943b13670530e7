// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform

// A packed virtqueue (virtio 1.2 section 2.8): one ring of descriptors, which the driver makes available and the device
// overwrites when it returns them, and an event suppression structure of each side.
//
// A position is the index of an entry, with the wrap counter of its round in the highest bit.
//
// Where the device goes on. The front end gives the position at which the device was stopped. After a device that was
// killed, QEMU gives an older one, because the guest's memory has no index of the device's. The entries show the right
// one: those that were returned have both bits alike, and those that wait have not. So that this holds for chains too,
// the device marks all entries of a chain as returned, and not the first one only. The driver does not look at the
// others (section 2.8.6).
extension GuestRing {
    /// Offsets of virtio 1.2 sections 2.8.13 and 2.8.14.
    private enum Layout {
        static let length = 8, identifier = 12, flags = 14
        static let eventFlags = 2
    }

    /// Of an event suppression structure (section 2.8.10).
    private enum Events {
        static let enable: UInt16 = 0, disable: UInt16 = 1, descriptor: UInt16 = 2
    }

    /// Flags of a descriptor that show whose it is (section 2.8.1).
    private enum Mark {
        static let available: UInt16 = 1 << 7, used: UInt16 = 1 << 15
        static let both = available | used
    }

    private static let wrap: UInt16 = 1 << 15

    /// Of virtio 1.2 section 2.8.13.
    @safe
    private struct PackedDescriptor {
        let address: UInt64
        let length: UInt32
        let identifier: UInt16
        let flags: UInt16

        /// Reads each word once.
        @inline(__always)
        init(at place: UnsafeRawPointer) {
            unsafe address = platform_load_word(place)
            let rest = unsafe platform_load_word(place + Layout.length)
            length = UInt32(truncatingIfNeeded: rest)
            identifier = UInt16(truncatingIfNeeded: rest >> 32)
            flags = UInt16(truncatingIfNeeded: rest >> 48)
        }
    }

    /// Bytes of the event suppression structures.
    static var packedAreas: (driver: Int, device: Int) { (4, 4) }

    // MARK: Positions

    @inline(__always)
    private func index(_ position: UInt16) -> Int { Int(position & ~GuestRing.wrap) }

    /// The position `count` entries after another one, at most a round.
    @inline(__always)
    private func advance(_ position: UInt16, by count: Int) -> UInt16 {
        let sum = index(position) + count
        let wrap = position & GuestRing.wrap
        return sum < size ? UInt16(sum) | wrap : UInt16(sum - size) | (wrap ^ GuestRing.wrap)
    }

    @inline(__always)
    private func flags(at position: UInt16) -> UInt16 {
        unsafe platform_load_acquire(descriptors + index(position) * GuestRing.descriptorLength + Layout.flags)
    }

    /// The marks of an entry that was returned in the round of a position.
    @inline(__always)
    private func usedMarks(_ position: UInt16) -> UInt16 { position & GuestRing.wrap != 0 ? Mark.both : 0 }

    /// The marks of an entry that was made available in the round of a position.
    @inline(__always)
    private func availableMarks(_ position: UInt16) -> UInt16 {
        position & GuestRing.wrap != 0 ? Mark.available : Mark.used
    }

    // MARK: Beginning

    mutating func beginPacked(at base: UInt32) {
        // What was taken and not returned is taken again.
        let given = UInt16(truncatingIfNeeded: base >> 16)
        let position = isPossible(given) ? given : found()
        (cursor.next, limit, usedIndex) = (position, position, position)
    }

    /// The entry at this position is the next one to return, as far as it and the entry before it show.
    private func isPossible(_ position: UInt16) -> Bool {
        guard index(position) < size else { return false }
        let marks = flags(at: position) & Mark.both
        let before = advance(position ^ GuestRing.wrap, by: size - 1)
        return (marks == availableMarks(position) || marks == usedMarks(position ^ GuestRing.wrap))
            && flags(at: before) & Mark.both == usedMarks(before)
    }

    /// The next entry to return, by the marks of all.
    private func found() -> UInt16 {
        func isUsed(_ index: Int) -> Bool {
            let marks = flags(at: UInt16(index)) & Mark.both
            return marks == 0 || marks == Mark.both
        }
        func wrap(_ index: Int) -> UInt16 { flags(at: UInt16(index)) & Mark.available != 0 ? GuestRing.wrap : 0 }
        // The first one that waits after one that was returned.
        for index in 0..<size where !isUsed(index) && isUsed(index > 0 ? index - 1 : size - 1) {
            return UInt16(index) | wrap(index)
        }
        // All wait, or none does: the first one of the round before.
        let edge = (1..<size).first { wrap($0) != wrap(0) } ?? 0
        if isUsed(0) { return UInt16(edge) | (edge == 0 ? wrap(0) ^ GuestRing.wrap : wrap(0)) }
        return UInt16(edge) | wrap(edge)
    }

    // MARK: Taking chains

    mutating func availablePackedCount() -> Int? {
        while cursor.entries < size {
            var flags = flags(at: limit)
            guard flags & Mark.both == availableMarks(limit) else { break }
            // The driver marks the first entry of a chain last (section 2.8.21).
            var count = 1
            while flags & Flag.next != 0 {
                guard cursor.entries + count < size else { return nil }
                flags = self.flags(at: advance(limit, by: count))
                count += 1
            }
            limit = advance(limit, by: count)
            cursor.entries += count
            cursor.chains += 1
        }
        return cursor.chains
    }

    @inline(__always)
    func packedAddress(ahead distance: Int) -> UInt64? {
        let position = advance(cursor.next, by: min(distance, size - 1))
        let entry = unsafe PackedDescriptor(at: descriptors + index(position) * GuestRing.descriptorLength)
        return entry.flags & Flag.indirect == 0 ? entry.address : nil
    }

    mutating func takePacked(isWritable: Bool, into pieces: inout PieceList) -> RingChain? {
        var count = 0, total = 0
        // The guest may have made the chain longer since its end was found.
        while count < cursor.entries {
            let position = advance(cursor.next, by: count)
            let entry = unsafe PackedDescriptor(at: descriptors + index(position) * GuestRing.descriptorLength)
            count += 1
            if entry.flags & Flag.indirect != 0 {
                guard count == 1, entry.flags & Flag.next == 0,
                    let length = collectTable(entry, isWritable: isWritable, into: &pieces)
                else { return nil }
                total = length
            } else {
                guard (entry.flags & Flag.write != 0) == isWritable,
                    append(at: entry.address, length: entry.length, to: &pieces)
                else { return nil }
                total += Int(entry.length)
            }
            guard entry.flags & Flag.next == 0 else { continue }
            cursor.next = advance(cursor.next, by: count)
            cursor.entries -= count
            cursor.chains -= 1
            return RingChain(identifier: entry.identifier, entries: UInt16(count), length: total)
        }
        return nil
    }

    /// All entries of an indirect table belong to the chain (section 2.8.7).
    private func collectTable(
        _ entry: PackedDescriptor, isWritable: Bool, into pieces: inout PieceList
    ) -> Int? {
        guard let table = unsafe table(at: entry.address, length: entry.length), unsafe table.count <= size else {
            return nil
        }
        var total = 0
        for index in 0..<(unsafe table.count) {
            let part = unsafe PackedDescriptor(at: table.start + index * GuestRing.descriptorLength)
            guard (part.flags & Flag.write != 0) == isWritable, part.flags & Flag.indirect == 0,
                append(at: part.address, length: part.length, to: &pieces)
            else { return nil }
            total += Int(part.length)
        }
        return total
    }

    // MARK: Returning chains

    mutating func completePacked(_ chain: RingChain, length: Int) {
        // More are taken only if the guest changes entries that it has not got back.
        guard Int(unpublished) + Int(chain.entries) <= size else { return }
        let entry = unsafe descriptors + index(usedIndex) * GuestRing.descriptorLength
        unsafe entry.storeBytes(
            of: UInt32(truncatingIfNeeded: length), toByteOffset: Layout.length, as: UInt32.self)
        unsafe entry.storeBytes(of: chain.identifier, toByteOffset: Layout.identifier, as: UInt16.self)
        let flags = usedMarks(usedIndex) | (length > 0 ? Flag.write : 0)
        // With the first one, the guest sees all.
        if unpublished == 0 {
            firstFlags = flags
        } else {
            unsafe platform_store_release(entry + Layout.flags, flags)
        }
        var count = 1
        while count < Int(chain.entries) {
            let position = advance(usedIndex, by: count)
            unsafe platform_store_release(
                descriptors + index(position) * GuestRing.descriptorLength + Layout.flags, usedMarks(position))
            count += 1
        }
        usedIndex = advance(usedIndex, by: count)
        unpublished += chain.entries
    }

    /// Of section 2.8.10.
    func publishPacked() -> Bool {
        let before = index(usedIndex) - Int(unpublished)
        let first = unsafe descriptors + (before < 0 ? before + size : before) * GuestRing.descriptorLength
        unsafe platform_store_release(first + Layout.flags, firstFlags)
        platform_fence()
        let flags = unsafe platform_load_acquire(driverArea + Layout.eventFlags)
        guard flags == Events.descriptor && usesEvents else { return flags != Events.disable }
        let event = unsafe platform_load_acquire(driverArea)
        var wanted = event & ~GuestRing.wrap
        if event & GuestRing.wrap != usedIndex & GuestRing.wrap { wanted &-= UInt16(size) }
        return (UInt16(index(usedIndex)) &- wanted &- 1) < unpublished
    }

    func announcePacked(_ isNeeded: Bool) -> Bool {
        guard isNeeded else {
            unsafe platform_store_release(deviceArea + Layout.eventFlags, Events.disable)
            return false
        }
        if usesEvents { unsafe platform_store_release(deviceArea, limit) }
        unsafe platform_store_release(deviceArea + Layout.eventFlags, usesEvents ? Events.descriptor : Events.enable)
        platform_fence()
        return flags(at: limit) & Mark.both == availableMarks(limit) && cursor.entries < size
    }
}
