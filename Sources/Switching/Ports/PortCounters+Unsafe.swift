// SPDX-License-Identifier: Apache-2.0
import Atomics

/// The counters of a port. The counters of received frames are written by one thread, the worker that reads the port or
/// the thread that polls its device; the others by any worker. Any thread reads them.
@safe
package final class PortCounters: @unchecked Sendable {
    @usableFromInline
    enum Slot: Int {
        case framesIn, bytesIn, framesOut, bytesOut, queued, drops
    }

    @usableFromInline static let slots = Slot.drops.rawValue + DropReason.allCases.count
    @usableFromInline let values: UnsafeMutablePointer<UInt64.AtomicRepresentation>

    /// Counters that are all zero.
    package init() {
        unsafe values = .allocate(capacity: PortCounters.slots)
        for slot in 0..<PortCounters.slots { unsafe (values + slot).initialize(to: UInt64.AtomicRepresentation(0)) }
    }

    deinit { unsafe values.deallocate() }

    // A single writer needs no read-modify-write: a relaxed load and store are two plain moves.
    @inlinable
    func add(_ amount: UInt64, _ slot: Int) {
        let atomic = unsafe UnsafeAtomic<UInt64>(at: values + slot)
        atomic.store(atomic.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    @inlinable
    func addShared(_ amount: UInt64, _ slot: Int) {
        unsafe UnsafeAtomic<UInt64>(at: values + slot).wrappingIncrement(by: amount, ordering: .relaxed)
    }

    private func value(_ slot: Int) -> UInt64 {
        unsafe UnsafeAtomic<UInt64>(at: values + slot).load(ordering: .relaxed)
    }

    /// Counts received frames. For the one thread that receives from the port.
    @inlinable
    package func received(frames: Int, bytes: Int) {
        add(UInt64(frames), Slot.framesIn.rawValue)
        add(UInt64(bytes), Slot.bytesIn.rawValue)
    }

    /// Counts sent frames. For any worker.
    @inlinable
    package func sent(frames: Int, bytes: Int) {
        addShared(UInt64(frames), Slot.framesOut.rawValue)
        addShared(UInt64(bytes), Slot.bytesOut.rawValue)
    }

    /// Counts dropped frames. For any worker.
    @inlinable
    package func dropped(_ reason: DropReason, frames: Int = 1) {
        addShared(UInt64(frames), Slot.drops.rawValue + reason.rawValue)
    }

    /// Frames that were received.
    package var framesIn: UInt64 { value(Slot.framesIn.rawValue) }
    /// Bytes of the frames that were received, as frames are: GSO frames count as one.
    package var bytesIn: UInt64 { value(Slot.bytesIn.rawValue) }
    /// Frames that were sent.
    package var framesOut: UInt64 { value(Slot.framesOut.rawValue) }
    /// Bytes of the frames that were sent.
    package var bytesOut: UInt64 { value(Slot.bytesOut.rawValue) }

    /// Sets how many frames wait for room at the receiver. Under the port's lock for sending.
    func setQueued(_ frames: Int) {
        unsafe UnsafeAtomic<UInt64>(at: values + Slot.queued.rawValue).store(UInt64(frames), ordering: .relaxed)
    }

    /// Frames that wait for room at the receiver now.
    package var queued: UInt64 { value(Slot.queued.rawValue) }

    /// Frames that were dropped for one reason.
    package func drops(_ reason: DropReason) -> UInt64 { value(Slot.drops.rawValue + reason.rawValue) }

    /// Frames that were dropped for any reason.
    package var totalDrops: UInt64 { DropReason.allCases.reduce(0) { $0 + drops($1) } }
}

extension PortCounters: CustomStringConvertible {
    package var description: String {
        var text = "in \(framesIn) frames, \(bytesIn) bytes; out \(framesOut) frames, \(bytesOut) bytes"
        let reasons = DropReason.allCases.filter { drops($0) > 0 }
        if !reasons.isEmpty { text += "; dropped " + reasons.map { "\(drops($0)) \($0)" }.joined(separator: ", ") }
        return text
    }
}
