// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// Collects frames for guests into batches. Used under the lock of the NAT that owns it.
final class GuestOutput {
    /// Bytes from which on a batch is sent: guests can work on them while more is made, and they are still in the
    /// cache.
    private static let flushThreshold = 60_000
    private static let batchCapacity = 64
    /// From this IP packet size on, the thread yields after each flush so that the guest's VMM can run. With shorter
    /// packets that costs more than it brings.
    private static let yieldThreshold = 16 << 10

    private let sink: any FrameInjector
    private let yieldsAfterFlush: Bool
    private var batch = FrameBatch(capacity: GuestOutput.batchCapacity)
    private var bytes = 0

    /// - Parameter mtu: bytes of the longest IP packet on the guests' link.
    init(to sink: any FrameInjector, mtu: Int) {
        self.sink = sink
        yieldsAfterFlush = mtu >= GuestOutput.yieldThreshold
    }

    /// Appends a frame of `length` bytes that `body` writes.
    func append(length: Int, _ offload: VirtioNetHeader = VirtioNetHeader(), _ body: (inout MutableRawSpan) -> Void) {
        batch.append(length: length, offload: offload, body)
        bytes += length
        if bytes >= GuestOutput.flushThreshold || batch.count == GuestOutput.batchCapacity { flush() }
    }

    /// Sends all frames.
    func flush() {
        if batch.count == 0 { return }
        sink.inject(&batch)
        batch.removeAll()
        bytes = 0
        if yieldsAfterFlush { WorkerThread.yield() }
    }
}
