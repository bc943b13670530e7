// SPDX-License-Identifier: Apache-2.0
import Atomics
import Frames
import Wire

/// A queue of frames between two threads, one of which only appends and the other only removes. Bounded: what does not fit is refused.
@safe
package final class FrameRing: @unchecked Sendable {
    /// Bytes of the largest frame that is taken; enough for DHCP and ARP, which is all the address service speaks.
    package static let slotCapacity = 2048 - 4

    private let slots: Int
    private let memory: UnsafeMutableRawPointer
    // Each index is written by one side. They only grow; the slot is the index modulo the capacity.
    private let written = ManagedAtomic<Int>(0)
    private let taken = ManagedAtomic<Int>(0)

    /// - Parameter slots: frames that fit.
    package init(slots: Int = 256) {
        self.slots = slots
        unsafe memory = .allocate(byteCount: slots * (FrameRing.slotCapacity + 4), alignment: 64)
    }

    deinit { unsafe memory.deallocate() }

    /// Appends a copy of `frame`. Called by the writing thread only. Returns false if it is too long or the ring is full.
    package func append(_ frame: RawSpan) -> Bool {
        let index = written.load(ordering: .relaxed)
        guard frame.byteCount <= FrameRing.slotCapacity, index - taken.load(ordering: .acquiring) < slots else { return false }
        let slot = unsafe memory + (index % slots) * (FrameRing.slotCapacity + 4)
        unsafe slot.storeBytes(of: UInt32(frame.byteCount), as: UInt32.self)
        unsafe frame.withUnsafeBytes { bytes in
            if let base = bytes.baseAddress { unsafe (slot + 4).copyMemory(from: base, byteCount: bytes.count) }
        }
        written.store(index + 1, ordering: .releasing)
        return true
    }

    package var isEmpty: Bool { written.load(ordering: .acquiring) == taken.load(ordering: .relaxed) }

    /// Hands the first frame to `body` and removes it. Called by the reading thread only. Returns nil if there is none.
    package func takeFirst<Result>(_ body: (RawSpan) -> Result) -> Result? {
        let index = taken.load(ordering: .relaxed)
        guard index < written.load(ordering: .acquiring) else { return nil }
        let slot = unsafe memory + (index % slots) * (FrameRing.slotCapacity + 4)
        let length = Int(unsafe slot.load(as: UInt32.self))
        let result = body(unsafe RawSpan(_unsafeStart: slot + 4, byteCount: length))
        taken.store(index + 1, ordering: .releasing)
        return result
    }
}
