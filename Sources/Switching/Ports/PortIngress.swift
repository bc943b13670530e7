// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Wire

/// How frames come in by a port. Used by the worker that reads the port; for a polled device, by the thread that polls
/// it.
struct PortIngress: ~Copyable {
    /// How many datagrams to receive at once, so that they are still in the cache when they are sent on.
    private var receiveLimit = ForwardingWorker.batchCapacity
    /// A frame has arrived since the port was attached or rearmed.
    var hasReceived = false
    /// Failed receives in a row. A descriptor that only fails is no longer watched.
    var failures = 0
    /// An empty datagram was among the frames received last.
    var receivedGoodbye = false
    /// A `goodbye` event was reported since the port was attached or rearmed.
    var isGoodbyeReported = false
    /// The peer has closed its socket of sequenced packets.
    private var hasPeerClosed = false
    /// The received part of a stream.
    var stream = StreamDeframer()
    /// Answers to frames that were too long for other ports, in this second.
    var noticeSecond = CoarseInstant.distantPast
    var notices: UInt16 = 0
    /// Time that the port's worker has spent on it in a sample period, and the number of that period.
    var cpuTime = TimeAmount.zero
    var samplePeriod: UInt64 = 0

    /// The peer has closed a connection, or nothing more of it can be parsed.
    var isOver: Bool { stream.isOver || hasPeerClosed }

    /// Bytes of frames that are enough for a batch.
    private static let batchBytes = 256 * 1024

    /// Fills the empty `batch`. Returns false if nothing is left to receive for now. Sets `error` to a positive errno.
    mutating func receive(
        from endpoint: PortEndpoint, into batch: inout FrameBatch, with vector: inout ReceiveVector, error: inout Int32
    ) -> Bool {
        let receivesMessages = endpoint.kind == .datagram || endpoint.kind == .sequencedPacket
        let limit = receivesMessages ? receiveLimit : batch.capacity
        let outcome =
            switch endpoint.kind {
            case .datagram, .sequencedPacket: receiveDatagrams(from: endpoint.raw, into: &batch, with: &vector)
            case .stream: stream.receive(from: endpoint.raw, into: &batch)
            case .tap: TapIO.receive(from: endpoint.raw, into: &batch, byteLimit: PortIngress.batchBytes)
            case .packet: PacketIO.receive(from: endpoint.raw, into: &batch, byteLimit: PortIngress.batchBytes)
            case .device: receiveFromDevice(endpoint, into: &batch, with: &vector)
            case .service, .datagramListener, .datagramClient: ReceiveOutcome()
            }
        if endpoint.offloadMTU > 0 {
            let malformed = batch.inferOffload(mtu: endpoint.offloadMTU)
            if malformed > 0 { endpoint.counters.dropped(.malformed, frames: malformed) }
        }
        error = outcome.error
        failures = outcome.error == 0 ? 0 : failures + 1
        if endpoint.kind == .sequencedPacket {
            // After the last packet of a closed connection, each receive returns 0 bytes, as it does for an empty
            // packet: the kernel fills the whole batch with them (unix(7), recvmmsg(2)).
            hasPeerClosed = outcome.empty == limit
        } else {
            receivedGoodbye = outcome.empty > 0
        }
        if outcome.truncated > 0 { endpoint.counters.dropped(.oversize, frames: outcome.truncated) }
        if endpoint.kind == .stream { return stream.holdsFrame }
        // A full batch, or one that ended at the byte limit, may have left frames behind.
        return outcome.frames == limit || (!receivesMessages && outcome.frames > 0)
    }

    private mutating func receiveDatagrams(
        from raw: Int32, into batch: inout FrameBatch, with vector: inout ReceiveVector
    ) -> ReceiveOutcome {
        let outcome = vector.receive(from: raw, into: &batch, limit: receiveLimit)
        guard outcome.frames > 0 else { return outcome }
        // Frames of a burst are mostly of one size.
        let length = Int(batch[outcome.frames - 1].length)
        receiveLimit =
            length <= PortIngress.batchBytes / batch.capacity ? batch.capacity : max(4, PortIngress.batchBytes / length)
        return outcome
    }

    private func receiveFromDevice(
        _ endpoint: PortEndpoint, into batch: inout FrameBatch, with vector: inout ReceiveVector
    ) -> ReceiveOutcome {
        guard let device = endpoint.device else { return ReceiveOutcome() }
        if device.drainsSignal { Wakeup.drain(endpoint.raw) }
        return vector.receive(from: device, into: &batch)
    }
}
