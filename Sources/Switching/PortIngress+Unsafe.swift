// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// How frames come in by a port. Belongs to the worker that reads it; of a device with turns, to who has the turn.
struct PortIngress: ~Copyable {
    private let raw: Int32
    private let kind: PortKind
    private let device: FrameDevice?
    private let counters: PortCounters
    /// How many frames to receive at once, so that they are still in the cache when they are sent on.
    private var receiveLimit = Forwarder.batchCapacity
    /// A frame has arrived since the last (re)arming.
    var hasReceived = false
    /// Failed receives in a row; a descriptor that only fails is no longer watched.
    var failures = 0
    /// An empty datagram was among the frames received last.
    var saidGoodbye = false
    /// A `goodbye` event was sent since the last (re)arming.
    var isGoodbyeReported = false
    /// What has come on a stream, and is about to go.
    var incoming = StreamFrames()
    /// Answers about frames that were too long for others, in this second.
    var noticeSecond: UInt32 = 0
    var notices: UInt16 = 0
    /// Nanoseconds that its worker has spent on it in this period, and which period that is.
    var effort: UInt64 = 0
    var period: UInt64 = 0

    init(_ configuration: PortConfiguration, _ counters: PortCounters) {
        raw = configuration.descriptor
        kind = configuration.kind
        device = configuration.device
        self.counters = counters
    }

    /// Frames that carry so many bytes together are enough for a batch, so that they are still in the cache when they
    /// are sent on.
    private static let batchBytes = 256 * 1024

    /// Fills the empty `batch`. Returns false when nothing is left to receive for now; an error is in `error`.
    mutating func receive(into batch: inout FrameBatch, with vector: inout ReceiveVector, error: inout Int32) -> Bool {
        let limit = kind == .datagram ? receiveLimit : batch.capacity
        let outcome =
            switch kind {
            case .datagram: receiveDatagrams(into: &batch, with: &vector)
            case .stream: incoming.receive(from: raw, into: &batch)
            case .tap: TapFrames.receive(from: raw, into: &batch, byteLimit: PortIngress.batchBytes)
            case .packet: PacketFrames.receive(from: raw, into: &batch, byteLimit: PortIngress.batchBytes)
            case .device: receiveFromDevice(into: &batch, with: &vector)
            case .service, .datagramListener, .datagramClient: ReceiveOutcome()
            }
        error = outcome.error
        failures = outcome.error == 0 ? 0 : failures + 1
        saidGoodbye = outcome.empty > 0
        if outcome.truncated > 0 { counters.dropped(.oversize, frames: outcome.truncated) }
        if kind == .stream { return incoming.holdsFrame }
        // A full batch, or one that ended for its bytes, may have left frames behind.
        return outcome.frames == limit || (kind != .datagram && outcome.frames > 0)
    }

    private mutating func receiveDatagrams(
        into batch: inout FrameBatch, with vector: inout ReceiveVector
    ) -> ReceiveOutcome {
        let outcome = vector.receive(from: raw, into: &batch, limit: receiveLimit)
        guard outcome.frames > 0 else { return outcome }
        // Frames of a burst are mostly of one size.
        let length = Int(batch[outcome.frames - 1].length)
        receiveLimit =
            length <= PortIngress.batchBytes / batch.capacity ? batch.capacity : max(4, PortIngress.batchBytes / length)
        return outcome
    }

    private func receiveFromDevice(into batch: inout FrameBatch, with vector: inout ReceiveVector) -> ReceiveOutcome {
        Wakeup.drain(raw)
        return vector.receive(from: device!, into: &batch)
    }
}
