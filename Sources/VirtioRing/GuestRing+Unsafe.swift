// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Platform

/// Where a ring is, and how far it has come.
package struct RingPlace: Equatable, Sendable {
    /// Entries, up to `maximumSize`; of a split ring a power of two.
    package var size: UInt32 = 0
    /// The front end's address of the descriptor table, or of the packed ring's descriptors.
    package var descriptors: UInt64 = 0
    /// The front end's address of what the driver writes: the available ring, or the driver's event suppression.
    package var available: UInt64 = 0
    /// The front end's address of what the device writes: the used ring, or the device's event suppression.
    package var used: UInt64 = 0
    /// Of a split ring: the index of the next entry that the guest makes available. Of a packed ring: the position of
    /// the next entry to take, and in the upper half that of the next entry to return, each with its wrap counter in
    /// its highest bit (vhost-user, "Vring state description").
    package var base: UInt32 = 0

    package init() {}

    /// Of the virtio specification, sections 2.7 and 2.8.
    package static let maximumSize: UInt32 = 32768
}

/// Buffers of the guest's that belong together.
@safe
struct RingChain: BitwiseCopyable {
    /// The guest's number for it: of a split ring the index of its first descriptor.
    var identifier: UInt16
    /// Entries that it takes of a packed ring.
    var entries: UInt16
    /// Bytes.
    var length: Int
}

/// A virtqueue from the device's side, split or packed (virtio 1.2 sections 2.7 and 2.8). Every number in it is the
/// guest's, and is checked after it was read once. The device returns chains in the order in which it has taken them.
@safe
struct GuestRing {
    /// What the guest has made available, as far as it was taken.
    struct Cursor: BitwiseCopyable {
        /// The next entry to take. Of a packed ring a position, as in `RingPlace.base`.
        var next: UInt16
        /// Of a packed ring: the chains and entries that were found after it.
        var chains = 0
        var entries = 0
    }

    /// Flags of a descriptor.
    enum Flag {
        static let next: UInt16 = 1, write: UInt16 = 2, indirect: UInt16 = 4
    }

    /// Bytes of a descriptor.
    static let descriptorLength = 16

    let memory: GuestMemoryView
    /// Entries of the ring.
    let size: Int
    let isPacked: Bool
    let usesEvents: Bool
    let descriptors: UnsafeMutableRawPointer
    let driverArea: UnsafeMutableRawPointer
    let deviceArea: UnsafeMutableRawPointer
    private let deviceAreaLength: Int
    /// What was taken. What was taken last is given back by setting the value from before.
    var cursor: Cursor
    /// How far the guest has made entries available, as it was read last.
    var limit: UInt16
    /// The next entry to return.
    var usedIndex: UInt16
    /// Entries that were returned, and that the guest cannot see yet.
    var unpublished: UInt16 = 0
    /// Of a packed ring: the flags of the first of them.
    var firstFlags: UInt16 = 0

    /// - Parameter log: where pages that are written are marked; nil: nowhere.
    /// - Throws: what of it is impossible.
    init(
        _ place: RingPlace, in memory: GuestMemory, _ features: VirtioFeatures, log: DirtyLog? = nil
    ) throws(VhostFault) {
        let size = Int(place.size)
        isPacked = features.contains(.packedRings)
        guard size > 0, size <= Int(RingPlace.maximumSize), isPacked || size & (size - 1) == 0 else {
            let sizes = isPacked ? "1 to 32768 are possible" : "a power of two up to 32768 is possible"
            throw VhostFault("a ring has \(place.size) entries; \(sizes)")
        }
        let lengths = isPacked ? GuestRing.packedAreas : GuestRing.splitAreas(size)
        guard
            let descriptors = unsafe memory.ringPart(
                at: place.descriptors, length: size * GuestRing.descriptorLength, alignment: 16),
            let driverArea = unsafe memory.ringPart(
                at: place.available, length: lengths.driver, alignment: isPacked ? 4 : 2),
            let deviceArea = unsafe memory.ringPart(at: place.used, length: lengths.device, alignment: 4)
        else { throw VhostFault("a ring lies outside the shared memory") }
        self.memory = GuestMemoryView(memory, log)
        self.size = size
        usesEvents = features.contains(.eventIndex)
        unsafe self.descriptors = descriptors
        unsafe self.driverArea = driverArea
        unsafe self.deviceArea = deviceArea
        deviceAreaLength = lengths.device
        (cursor, limit, usedIndex) = (Cursor(next: 0), 0, 0)
        if isPacked { beginPacked(at: place.base) } else { beginSplit(at: place.base) }
    }

    /// Where another device would go on, for `RingPlace.base`.
    var base: UInt32 { isPacked ? UInt32(cursor.next) | UInt32(usedIndex) << 16 : UInt32(cursor.next) }

    // MARK: Taking chains

    /// How many chains can be taken; nil if the guest's numbers are impossible.
    @inline(__always)
    mutating func availableCount() -> Int? { isPacked ? availablePackedCount() : availableSplitCount() }

    /// How many chains can be taken by what was read last. Another read costs a transfer of the guest's cache line from
    /// its processor.
    @inline(__always)
    var knownCount: Int { isPacked ? cursor.chains : Int(limit &- cursor.next) }

    /// Loads the buffer of a chain that will be taken soon into the processor's cache: the first one of the chain
    /// `distance` after the next one, if that is known. The numbers are read again when the chain is taken.
    @inline(__always)
    func prefetch(_ distance: Int, isWritable: Bool) {
        guard distance < knownCount else { return }
        guard let address = isPacked ? packedAddress(ahead: distance) : splitAddress(ahead: distance),
            let part = unsafe memory.bytes(at: address, length: 1)
        else { return }
        unsafe platform_prefetch(part.start, isWritable ? 1 : 0)
    }

    /// Takes the next chain, and appends its buffers, all for the device to write, or all for it to read. Nil if the
    /// chain is impossible: a loop, an address outside the memory, the wrong direction, or too many pieces.
    /// - Precondition: there is one (`knownCount`).
    @inline(__always)
    mutating func take(isWritable: Bool, into pieces: inout PieceList) -> RingChain? {
        isPacked
            ? takePacked(isWritable: isWritable, into: &pieces) : takeSplit(isWritable: isWritable, into: &pieces)
    }

    /// Appends a buffer, which may lie in several regions, one after the other. Returns false if it lies outside the
    /// memory, or is a piece too many.
    func append(at address: UInt64, length: UInt32, to pieces: inout PieceList) -> Bool {
        var address = address, rest = UInt64(length)
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

    /// The table of an indirect descriptor; nil if it is impossible.
    func table(at address: UInt64, length: UInt32) -> (start: UnsafeRawPointer, count: Int)? {
        guard length % UInt32(GuestRing.descriptorLength) == 0,
            let part = unsafe memory.bytes(at: address, length: UInt64(length)),
            unsafe part.length == Int(length), unsafe UInt(bitPattern: part.start) % 8 == 0
        else { return nil }
        return unsafe (UnsafeRawPointer(part.start), Int(length) / GuestRing.descriptorLength)
    }

    // MARK: Returning chains

    /// Returns a chain of which the device has written `length` bytes. The guest sees it after `publish`.
    @inline(__always)
    mutating func complete(_ chain: RingChain, length: Int) {
        if isPacked { completePacked(chain, length: length) } else { completeSplit(chain, length: length) }
    }

    /// Shows the guest what was returned. Returns whether it is to be interrupted.
    mutating func publish() -> Bool {
        guard unpublished > 0 else { return false }
        defer {
            unpublished = 0
            if memory.isLogged { markWritten() }
        }
        return isPacked ? publishPacked() : publishSplit()
    }

    /// Requests that the guest announce entries beyond those that `availableCount` found last, or no longer. Returns
    /// whether there are such entries already.
    mutating func announce(_ isNeeded: Bool) -> Bool {
        defer { if memory.isLogged { markWritten() } }
        return isPacked ? announcePacked(isNeeded) : announceSplit(isNeeded)
    }

    /// Marks what the device writes of the ring itself.
    private func markWritten() {
        unsafe memory.mark(deviceArea, deviceAreaLength)
        if isPacked { unsafe memory.mark(descriptors, size * GuestRing.descriptorLength) }
    }
}
