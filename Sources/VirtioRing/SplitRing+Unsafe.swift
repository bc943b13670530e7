// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Platform

/// Where a ring is, and how far it has come.
package struct RingPlace: Equatable, Sendable {
    /// Entries: a power of two up to `maximumSize`.
    package var size: UInt32 = 0
    /// The front end's address of the descriptor table.
    package var descriptors: UInt64 = 0
    /// The front end's address of the available ring.
    package var available: UInt64 = 0
    /// The front end's address of the used ring.
    package var used: UInt64 = 0
    /// The index of the next entry that the guest makes available.
    package var next: UInt16 = 0

    package init() {}

    /// Of the virtio specification, section 2.7.
    package static let maximumSize: UInt32 = 32768
}

/// A split virtqueue from the device's side (virtio 1.2 section 2.7). Every number in it is the guest's, and is checked
/// after it was read once.
@safe
struct SplitRing {
    /// Offsets and sizes of virtio 1.2 sections 2.7.5 to 2.7.8.
    private enum Layout {
        static let descriptor = 16, usedElement = 8, usedLength = 4
        static let index = 2, ring = 4
    }
    /// Flags of a descriptor.
    private enum Flag {
        static let next: UInt16 = 1, write: UInt16 = 2, indirect: UInt16 = 4
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

    private let memory: GuestMemoryView
    private let size: Int
    private let descriptors: UnsafeMutableRawPointer
    private let available: UnsafeMutableRawPointer
    private let used: UnsafeMutableRawPointer
    private let usesEvents: Bool
    /// The next entry to take.
    private(set) var next: UInt16
    /// How far the guest has made entries available, as it was read last.
    private var limit: UInt16
    /// The next entry to return, and what of it the guest can see.
    private var usedIndex: UInt16
    private var published: UInt16

    /// - Parameter usesEvents: `VIRTIO_F_EVENT_IDX` was negotiated.
    init(_ place: RingPlace, in memory: GuestMemory, usesEvents: Bool) throws(VhostFault) {
        let size = Int(place.size)
        guard size > 0, size <= Int(RingPlace.maximumSize), size & (size - 1) == 0 else {
            throw VhostFault("a ring has \(place.size) entries, which is no power of two up to 32768")
        }
        // One word more each for the event index.
        guard
            let descriptors = unsafe memory.ringPart(
                at: place.descriptors, length: size * Layout.descriptor, alignment: 16),
            let available = unsafe memory.ringPart(
                at: place.available, length: Layout.ring + 2 * size + 2, alignment: 2),
            let used = unsafe memory.ringPart(
                at: place.used, length: Layout.ring + Layout.usedElement * size + 2, alignment: 4)
        else { throw VhostFault("a ring lies outside the shared memory") }
        self.memory = GuestMemoryView(memory)
        self.size = size
        unsafe self.descriptors = descriptors
        unsafe self.available = available
        unsafe self.used = used
        self.usesEvents = usesEvents
        next = place.next
        limit = place.next
        usedIndex = unsafe platform_load_acquire(used + Layout.index)
        published = usedIndex
    }

    /// Entries of the ring.
    var capacity: Int { size }

    // MARK: Taking entries

    /// How many entries can be taken; nil if the guest's index is impossible.
    mutating func availableCount() -> Int? {
        limit = unsafe platform_load_acquire(available + Layout.index)
        let count = Int(limit &- next)
        return count <= size ? count : nil
    }

    /// How many entries can be taken by the guest's index as it was read last. Another read costs a transfer of the
    /// guest's cache line from its processor.
    var knownCount: Int { Int(limit &- next) }

    /// Loads the buffer of an entry that will be taken soon into the processor's cache: the first one of the entry
    /// `distance` behind the next one, if that is known. The numbers are read again when the entry is taken.
    @inline(__always)
    func prefetch(_ distance: Int, isWritable: Bool) {
        guard distance < knownCount else { return }
        let slot = Int(next &+ UInt16(distance)) & (size - 1)
        let head = unsafe Int(platform_load_acquire(available + Layout.ring + 2 * slot))
        guard head < size else { return }
        let entry = unsafe ChainDescriptor(at: descriptors + head * Layout.descriptor)
        guard entry.flags & Flag.indirect == 0, let part = unsafe memory.bytes(at: entry.address, length: 1) else {
            return
        }
        unsafe platform_prefetch(part.start, isWritable ? 1 : 0)
    }

    /// Takes the next entry: the first descriptor of a chain; nil if the guest's number is impossible.
    /// - Precondition: there is one (`knownCount`).
    mutating func take() -> UInt16? {
        let slot = Int(next) & (size - 1)
        let head = unsafe platform_load_acquire(available + Layout.ring + 2 * slot)
        next &+= 1
        return Int(head) < size ? head : nil
    }

    /// Gives back the last entries that were taken.
    mutating func rewind(to index: UInt16) { next = index }

    /// Appends the buffers of the chain that begins at `head`, all for the device to write, or all for it to read.
    /// Returns their bytes; nil if the chain is impossible: a loop, an address outside the memory, the wrong direction,
    /// or too many pieces.
    func collect(_ head: UInt16, isWritable: Bool, into pieces: inout PieceList) -> Int? {
        var table = unsafe UnsafeRawPointer(descriptors)
        var tableSize = size
        var index = Int(head)
        var isIndirect = false
        var total = 0
        // A chain is no longer than the ring (section 2.7.5.3.1), so a loop ends here.
        for _ in 0...size {
            guard index < tableSize else { return nil }
            let entry = unsafe ChainDescriptor(at: table + index * Layout.descriptor)
            if entry.flags & Flag.indirect != 0 {
                guard !isIndirect, entry.flags & Flag.next == 0,
                    let part = unsafe memory.bytes(at: entry.address, length: UInt64(entry.length)),
                    unsafe part.length == Int(entry.length),
                    unsafe UInt(bitPattern: part.start) % 8 == 0, entry.length % UInt32(Layout.descriptor) == 0
                else { return nil }
                tableSize = Int(entry.length) / Layout.descriptor
                unsafe table = UnsafeRawPointer(part.start)
                index = 0
                isIndirect = true
                continue
            }
            guard (entry.flags & Flag.write != 0) == isWritable, append(entry, to: &pieces) else { return nil }
            total += Int(entry.length)
            if entry.flags & Flag.next == 0 { return total }
            index = Int(entry.next)
        }
        return nil
    }

    /// A buffer may lie in several regions, one behind the other.
    private func append(_ entry: ChainDescriptor, to pieces: inout PieceList) -> Bool {
        var address = entry.address, rest = UInt64(entry.length)
        while rest > 0 {
            guard let part = unsafe memory.bytes(at: address, length: rest),
                unsafe pieces.append(part.start, part.length)
            else { return false }
            unsafe rest -= UInt64(part.length)
            let (following, overflow) = unsafe address.addingReportingOverflow(UInt64(part.length))
            if overflow && rest > 0 { return false }
            address = following
        }
        return true
    }

    // MARK: Returning entries

    /// Returns a chain of which the device has written `length` bytes. The guest sees it after `publish`.
    mutating func complete(_ head: UInt16, length: Int) {
        let slot = Int(usedIndex) & (size - 1)
        let element = unsafe used + Layout.ring + Layout.usedElement * slot
        unsafe element.storeBytes(of: UInt32(head), as: UInt32.self)
        unsafe element.storeBytes(
            of: UInt32(truncatingIfNeeded: length), toByteOffset: Layout.usedLength, as: UInt32.self)
        usedIndex &+= 1
    }

    /// Chains were returned that the guest cannot see yet.
    var hasUnpublished: Bool { usedIndex != published }

    /// Shows the guest what was returned. Returns whether it is to be interrupted (section 2.7.7.2).
    mutating func publish() -> Bool {
        guard usedIndex != published else { return false }
        unsafe platform_store_release(used + Layout.index, usedIndex)
        platform_fence()
        let before = published
        published = usedIndex
        if !usesEvents { return unsafe platform_load_acquire(available) & 1 == 0 }
        let event = unsafe platform_load_acquire(available + Layout.ring + 2 * size)
        return (usedIndex &- event &- 1) < (usedIndex &- before)
    }

    /// Asks the guest to announce entries beyond those that `availableCount` found last, or no longer. Returns whether
    /// there are such entries already.
    mutating func announce(_ isWanted: Bool) -> Bool {
        if usesEvents {
            // An index that was passed is announced no more.
            guard isWanted else { return false }
            unsafe platform_store_release(used + Layout.ring + Layout.usedElement * size, limit)
        } else {
            unsafe platform_store_release(used, isWanted ? 0 : 1)
        }
        platform_fence()
        return unsafe isWanted && platform_load_acquire(available + Layout.index) != limit
    }
}
