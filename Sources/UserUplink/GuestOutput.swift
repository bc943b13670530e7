// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// Frames for guests, until there are enough of them to be sent on, or nothing more is to come for now. Belongs to who
/// has the turn.
final class GuestOutput {
    /// Bytes from which on guests get what there is: they have something to do while more is made, and what is sent is
    /// still in the cache.
    private static let enough = 60_000
    private static let frames = 64
    /// IP packets from this length on are each worth that whoever takes them for a guest has this thread's processor
    /// for a moment. Shorter ones go better in one piece.
    private static let longPacket = 16 << 10

    private let sink: any FrameInjector
    private let yields: Bool
    private var batch = FrameBatch(capacity: GuestOutput.frames)
    private var bytes = 0

    /// - Parameter mtu: bytes of the longest IP packet on the guests' link.
    init(to sink: any FrameInjector, mtu: Int) {
        self.sink = sink
        yields = mtu >= GuestOutput.longPacket
    }

    /// Appends a frame of `length` bytes that `body` writes.
    func append(length: Int, _ offload: VirtioNetHeader = VirtioNetHeader(), _ body: (inout MutableRawSpan) -> Void) {
        batch.append(length: length, offload: offload, body)
        bytes += length
        if bytes >= GuestOutput.enough || batch.count == GuestOutput.frames { send() }
    }

    /// Sends on what there is.
    func send() {
        if batch.count == 0 { return }
        sink.inject(&batch)
        batch.removeAll()
        bytes = 0
        if yields { WorkerThread.yield() }
    }
}
