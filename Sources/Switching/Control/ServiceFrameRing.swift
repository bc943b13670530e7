// SPDX-License-Identifier: Apache-2.0
import Atomics
import FrameIO
import Wire

/// A queue of frames between workers and a service on the control thread, with the port that each came in by. One side
/// only appends and the other only removes; each is one thread at a time.
///
/// Bounded: a frame that does not fit is refused. Guests share it by one rule: the frames of a port never take more
/// slots than are free.
package final class ServiceFrameRing: @unchecked Sendable {
    /// Bytes of the longest frame; enough for DHCP, ARP and DNS over UDP.
    package static let maximumFrameLength = 2048 - 4

    private let slots: Int
    private let ring: SPSCFrameRing
    /// The port of each queued frame, by count modulo `slots`. The appending side's.
    private var ports: [PortNumber]
    /// Frames since the beginning, written by one side each.
    private let appended = ManagedAtomic<Int>(0)
    private let removed = ManagedAtomic<Int>(0)

    /// - Parameter slots: frames that fit.
    package init(slots: Int = 256) {
        self.slots = slots
        ports = Array(repeating: 0, count: slots)
        // Twice what they need, because the ring skips the end of its memory if a frame does not fit there.
        var capacity = 8192
        while capacity < slots * 4096 { capacity *= 2 }
        ring = SPSCFrameRing(capacity: capacity)
    }

    /// Appends a copy of a frame that came in by `port`; nil stands for no port, without a share.
    /// - Returns: false if the frame is too long, the ring is full, or the port's frames have their share of the slots.
    package func append(_ frame: RawSpan, from port: PortNumber? = nil) -> Bool {
        let last = appended.load(ordering: .relaxed), first = removed.load(ordering: .acquiring)
        guard frame.byteCount > 0, frame.byteCount <= ServiceFrameRing.maximumFrameLength, last - first < slots,
            port.map({ hasRoom(for: $0, first..<last) }) ?? true,
            ring.append(frame, tag: UInt32(port ?? 0))
        else { return false }
        ports[last % slots] = port ?? 0
        appended.store(last + 1, ordering: .releasing)
        return true
    }

    /// Whether a port's frames take fewer slots than are free. With half of the slots free they do.
    private func hasRoom(for port: PortNumber, _ queued: Range<Int>) -> Bool {
        let free = slots - queued.count
        if queued.count < free { return true }
        var own = 0
        for index in queued where ports[index % slots] == port { own += 1 }
        return own < free
    }

    /// Whether no frame is queued. For any thread.
    package var isEmpty: Bool { !ring.hasFrames }

    /// Calls `body` with the first frame and its port, and removes the frame. Returns nil if there is none.
    package func removeFirst<Result>(_ body: (RawSpan, PortNumber) -> Result) -> Result? {
        guard let result = ring.removeFirst({ frame, tag in body(frame.bytes, PortNumber(tag)) }) else { return nil }
        removed.store(removed.load(ordering: .relaxed) + 1, ordering: .releasing)
        return result
    }
}
