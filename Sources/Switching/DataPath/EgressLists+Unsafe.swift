// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Wire

/// For each port, the frames of a batch that leave through it, and the list of ports that have any. Owned by one
/// `Dispatcher`; its memory is allocated once.
///
/// A handle, so that a list can be read while the dispatcher that owns it changes: valid until `deallocate`.
@safe
struct EgressLists: @unchecked Sendable {
    /// What is known of one port's list.
    struct Summary: BitwiseCopyable {
        fileprivate let raw: UInt16

        fileprivate static let unicastBit: UInt16 = 1 << 15
        fileprivate static let oversizeBit: UInt16 = 1 << 14
        fileprivate static let countMask: UInt16 = oversizeBit - 1

        /// Frames in the list.
        var count: Int { Int(raw & Summary.countMask) }
        /// Some of them are more than copies of flooded frames.
        var hasUnicast: Bool { raw & Summary.unicastBit != 0 }
        /// Some of them are too long for the port.
        var hasOversize: Bool { raw & Summary.oversizeBit != 0 }
    }

    /// A list for each port number, and one more for `sequence`.
    private let entries: UnsafeMutablePointer<EgressEntry>
    private let summaries: UnsafeMutablePointer<UInt16>
    /// Ports with frames, in the order of their first frame, and how many there are.
    private let active: UnsafeMutablePointer<PortNumber>
    private let activeCount: UnsafeMutablePointer<Int>
    private static let stride = ForwardingWorker.batchCapacity

    init() {
        unsafe entries = .allocate(capacity: (PortSlab.capacity + 1) * EgressLists.stride)
        unsafe summaries = .allocate(capacity: PortSlab.capacity)
        unsafe summaries.initialize(repeating: 0, count: PortSlab.capacity)
        unsafe active = .allocate(capacity: PortSlab.capacity)
        unsafe activeCount = .allocate(capacity: 1)
        unsafe activeCount.initialize(to: 0)
    }

    /// Frees the memory. No handle may be used afterwards.
    func deallocate() {
        unsafe entries.deallocate()
        unsafe summaries.deallocate()
        unsafe active.deallocate()
        unsafe activeCount.deallocate()
    }

    /// Ports that have frames.
    var count: Int { unsafe activeCount.pointee }

    func port(at index: Int) -> PortNumber {
        precondition(index >= 0 && index < PortSlab.capacity)
        return unsafe active[index]
    }

    @inline(__always)
    func append(_ entry: EgressEntry, to port: PortNumber) {
        precondition(Int(port) < PortSlab.capacity)
        let summary = unsafe summaries[Int(port)]
        let count = Int(summary & Summary.countMask)
        precondition(count < EgressLists.stride)
        if count == 0 {
            unsafe active[activeCount.pointee] = port
            unsafe activeCount.pointee += 1
        }
        unsafe entries[Int(port) &* EgressLists.stride &+ count] = entry
        unsafe summaries[Int(port)] = (summary | (entry.isOversize ? Summary.oversizeBit : 0)) &+ 1
    }

    /// Marks that a port's list has more than copies, unless the list is empty.
    @inline(__always)
    func markUnicast(_ port: PortNumber) {
        precondition(Int(port) < PortSlab.capacity)
        if unsafe summaries[Int(port)] != 0 { unsafe summaries[Int(port)] |= Summary.unicastBit }
    }

    /// Whether frame `index` is the last one in a port's list.
    func isLast(_ index: Int, at port: PortNumber) -> Bool {
        precondition(Int(port) < PortSlab.capacity)
        let count = unsafe Int(summaries[Int(port)] & Summary.countMask)
        return unsafe count > 0 && entries[Int(port) * EgressLists.stride + count - 1].index == index
    }

    /// Empties a port's list, whose entries stay readable until the next `append`.
    func take(_ port: PortNumber) -> Summary {
        precondition(Int(port) < PortSlab.capacity)
        let summary = unsafe Summary(raw: summaries[Int(port)])
        unsafe summaries[Int(port)] = 0
        return summary
    }

    /// Clears the list of ports that had frames; all lists were taken.
    func removeAll() { unsafe activeCount.pointee = 0 }

    /// The entries of a port's list that was taken.
    @_lifetime(borrow self)
    func entries(of port: PortNumber, _ summary: Summary) -> Span<EgressEntry> {
        precondition(Int(port) < PortSlab.capacity && summary.count <= EgressLists.stride)
        let span = unsafe Span(_unsafeStart: entries + Int(port) * EgressLists.stride, count: summary.count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// Entries of the first `count` frames of a batch, valid until the next call.
    @_lifetime(borrow self)
    func sequence(of count: Int, _ edit: TagEdit) -> Span<EgressEntry> {
        precondition(count <= EgressLists.stride)
        let first = unsafe entries + PortSlab.capacity * EgressLists.stride
        for index in 0..<count { unsafe first[index] = EgressEntry(index, edit) }
        let span = unsafe Span(_unsafeStart: first, count: count)
        return unsafe _overrideLifetime(span, borrowing: self)
    }
}
