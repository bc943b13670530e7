// SPDX-License-Identifier: Apache-2.0
import Atomics
import Wire

/// A queue of frames between two threads, one of which only appends and the other only removes. Bounded: what does not
/// fit is refused.
///
/// Each frame is queued with the port that it came in by. One port's frames never take more slots than are left for the
/// other ports' frames.
@safe
package final class FrameRing: @unchecked Sendable {
    /// Bytes of the largest frame that is taken; enough for DHCP and ARP, which is all the address service speaks.
    package static let slotCapacity = 2048 - 4

    private let slots: Int
    private let memory: UnsafeMutableRawPointer
    /// The port of the frame in each slot. Written and counted by the appending side.
    private let ports: UnsafeMutablePointer<PortNumber>
    // Each index is written by one side. They only grow; the slot is the index modulo the capacity.
    private let written = ManagedAtomic<Int>(0)
    private let taken = ManagedAtomic<Int>(0)

    /// - Parameter slots: frames that fit.
    package init(slots: Int = 256) {
        self.slots = slots
        unsafe memory = .allocate(byteCount: slots * (FrameRing.slotCapacity + 4), alignment: 64)
        unsafe ports = .allocate(capacity: slots)
        unsafe ports.initialize(repeating: 0, count: slots)
    }

    deinit {
        unsafe memory.deallocate()
        unsafe ports.deallocate()
    }

    /// Appends a copy of `frame`. Called by the writing thread only. Returns false if it is too long or the ring is
    /// full.
    package func append(_ frame: RawSpan) -> Bool { append(frame, from: nil) }

    /// Appends a copy of a frame that came in by `port`. Called by the writing thread only.
    /// - Returns: false if the frame is too long, the ring is full, or the port's frames have their share of the slots;
    ///   nil stands for no port, without a share.
    package func append(_ frame: RawSpan, from port: PortNumber?) -> Bool {
        let index = written.load(ordering: .relaxed)
        let first = taken.load(ordering: .acquiring)
        guard frame.byteCount <= FrameRing.slotCapacity, index - first < slots,
            port.map({ hasRoom(for: $0, first..<index) }) ?? true
        else { return false }
        let slot = unsafe memory + (index % slots) * (FrameRing.slotCapacity + 4)
        unsafe ports[index % slots] = port ?? 0
        unsafe slot.storeBytes(of: UInt32(frame.byteCount), as: UInt32.self)
        unsafe frame.withUnsafeBytes { bytes in
            if let base = bytes.baseAddress { unsafe (slot + 4).copyMemory(from: base, byteCount: bytes.count) }
        }
        written.store(index + 1, ordering: .releasing)
        return true
    }

    /// Whether a port's frames take fewer slots than are free. Below half of the slots they do, whatever other ports
    /// have queued.
    private func hasRoom(for port: PortNumber, _ queued: Range<Int>) -> Bool {
        let free = slots - queued.count
        if queued.count < free { return true }
        var own = 0
        for index in queued { if unsafe ports[index % slots] == port { own += 1 } }
        return own < free
    }

    package var isEmpty: Bool { written.load(ordering: .acquiring) == taken.load(ordering: .relaxed) }

    /// Hands the first frame to `body` and removes it. Called by the reading thread only. Returns nil if there is none.
    package func takeFirst<Result>(_ body: (RawSpan) -> Result) -> Result? { takeFirst { frame, _ in body(frame) } }

    /// The same with the port that the frame came in by.
    package func takeFirst<Result>(_ body: (RawSpan, PortNumber) -> Result) -> Result? {
        let index = taken.load(ordering: .relaxed)
        guard index < written.load(ordering: .acquiring) else { return nil }
        let slot = unsafe memory + (index % slots) * (FrameRing.slotCapacity + 4)
        let length = Int(unsafe slot.load(as: UInt32.self))
        let result = unsafe body(RawSpan(_unsafeStart: slot + 4, byteCount: length), ports[index % slots])
        taken.store(index + 1, ordering: .releasing)
        return result
    }
}
