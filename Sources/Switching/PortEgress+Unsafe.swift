// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// What became of frames that were to be sent through a port.
struct TransmitOutcome: BitwiseCopyable {
    /// The errno of a receiver that is gone, else 0.
    var error: Int32 = 0
    /// The frame of the batch that was too long, before which sending has stopped; -1 if there was none.
    var refused = -1
}

/// How frames go out by a port, and what waits for room there. Belongs to whoever has the port's `sending`.
struct PortEgress: ~Copyable {
    let raw: Int32
    let kind: PortKind
    let maximumFrame: Int
    let device: FrameDevice?
    let counters: PortCounters
    var queue = TransmitQueue()
    /// The receiver is full: the poller watches for room, and frames go to the queue.
    var isBlocked = false
    /// Attempts in a row to send what waits that got nothing through, for a receiver that does not tell of room.
    private var vainRetries = 0
    let outgoing: StreamVector?
    /// Bytes of the queue's first frame, its length included, that a stream has taken already.
    var sentOfFirst = 0
    /// A stream is over.
    var hasEnded = false
    /// For a client of a datagram listener.
    private let destination: DatagramDestination?

    init(_ configuration: PortConfiguration, _ counters: PortCounters) {
        raw = configuration.descriptor
        kind = configuration.kind
        maximumFrame = configuration.maximumFrame
        device = configuration.device
        self.counters = counters
        outgoing = configuration.kind == .stream ? StreamVector() : nil
        destination = configuration.kind == .datagramClient ? DatagramDestination(configuration.destination) : nil
    }

    /// Sends these frames, in this order, or queues or drops them, up to the first that is too long.
    mutating func transmit(
        _ departures: UnsafeBufferPointer<Departure>, of batch: inout FrameBatch, with vector: inout SendVector
    ) -> TransmitOutcome {
        switch kind {
        case .datagram, .stream, .datagramClient: unsafe transmitDatagrams(departures, of: &batch, with: &vector)
        case .tap: unsafe transmitInRuns(departures, of: &batch, with: &vector)
        case .device where device!.takesPieces: unsafe transmitInRuns(departures, of: &batch, with: &vector)
        case .packet:
            unsafe transmitWhole(
                departures, headerLength: VirtioNetHeader.shortLength, maximumSuperFrame: FrameBatch.maximumFrameLength,
                of: &batch, with: &vector)
        case .device:
            unsafe transmitWhole(
                departures, headerLength: device!.headerLength, maximumSuperFrame: device!.maximumSuperFrame,
                of: &batch, with: &vector)
        case .service, .datagramListener: TransmitOutcome()
        }
    }

    private mutating func transmitDatagrams(
        _ departures: UnsafeBufferPointer<Departure>, of batch: inout FrameBatch, with vector: inout SendVector
    ) -> TransmitOutcome {
        var outcome = TransmitOutcome()
        vector.removeAll()
        for place in 0..<departures.count {
            let departure = unsafe departures[place]
            let index = departure.index, edit = departure.edit
            let frame = batch[index]
            let change = Port.growth(by: edit)
            if frame.offload.segmentation != .none {
                guard var segmenter = Segmenter(batch.bytes(of: frame), frame.offload) else {
                    counters.dropped(.malformed)
                    continue
                }
                guard segmenter.longestFrame + change <= maximumFrame else {
                    counters.dropped(.oversize, frames: segmenter.remaining)
                    outcome.refused = index
                    break
                }
                repeat {
                    if vector.isFull { flush(&vector, &outcome) }
                } while vector.append(nextOf: &segmenter, from: frame, in: batch, edit: edit)
                continue
            }
            guard batch.completeChecksum(of: index) else {
                counters.dropped(.malformed)
                continue
            }
            guard Int(frame.length) + change <= maximumFrame else {
                outcome.refused = index
                break
            }
            if vector.isFull { flush(&vector, &outcome) }
            if edit == .keep {
                vector.append(frame: frame, of: batch)
            } else {
                vector.append(frame: frame, of: batch, edit: edit)
            }
        }
        flush(&vector, &outcome)
        return outcome
    }

    /// To what takes every frame in one piece: behind a virtio header of so many bytes, or without one (0), and then
    /// also with its checksum, and nothing that is to be segmented unless it takes super-frames.
    private mutating func transmitWhole(
        _ departures: UnsafeBufferPointer<Departure>, headerLength: Int, maximumSuperFrame: Int,
        of batch: inout FrameBatch, with vector: inout SendVector
    ) -> TransmitOutcome {
        var outcome = TransmitOutcome()
        vector.removeAll()
        for place in 0..<departures.count {
            let departure = unsafe departures[place]
            let index = departure.index
            let isOneFrame = batch[index].offload.segmentation == .none || maximumSuperFrame > 0
            guard headerLength > 0 || (isOneFrame && batch.completeChecksum(of: index)) else {
                counters.dropped(.malformed)
                continue
            }
            guard carries(batch[index], departure.edit, maximumSuperFrame) else {
                refuse(index, batch[index], &outcome)
                break
            }
            guard departure.edit == .keep else {
                // In place, and undone: other ports may want the frame as it was.
                flush(&vector, &outcome)
                let undo = edit(index, of: &batch, departure.edit)
                append(index, of: &batch, to: &vector, headerLength)
                flush(&vector, &outcome)
                restore(index, of: &batch, undo)
                continue
            }
            if vector.isFull { flush(&vector, &outcome) }
            append(index, of: &batch, to: &vector, headerLength)
        }
        flush(&vector, &outcome)
        return outcome
    }

    private func append(_ index: Int, of batch: inout FrameBatch, to vector: inout SendVector, _ headerLength: Int) {
        if headerLength > 0 {
            PacketFrames.append(index, of: &batch, to: &vector, headerLength: headerLength)
        } else {
            vector.append(frame: batch[index], of: batch)
        }
    }

    /// Leaves a frame to the forwarder that is too long. What is not to be cut up is dropped here.
    func refuse(_ index: Int, _ frame: FrameDescriptor, _ outcome: inout TransmitOutcome) {
        outcome.refused = index
        if frame.offload.segmentation != .none { counters.dropped(.oversize) }
    }

    /// Whether a device takes a frame of this length: what is to be segmented there may be longer.
    func carries(
        _ frame: FrameDescriptor, _ edit: TagEdit, _ maximumSuperFrame: Int = FrameBatch.maximumFrameLength
    ) -> Bool {
        let length = Int(frame.length) + Port.growth(by: edit)
        return length <= (frame.offload.segmentation == .none ? maximumFrame : max(maximumFrame, maximumSuperFrame))
    }

    /// Changes a frame's tag in place. Returns the tag that was taken out.
    func edit(_ index: Int, of batch: inout FrameBatch, _ edit: TagEdit) -> VLANTag? {
        if edit == .insert {
            batch.insert(VLANTag(protocolIdentifier: EtherType.vlan, control: batch[index].vlan), into: index)
            return nil
        }
        let frame = batch[index]
        let tag = VLANTag(ofFrame: batch.bytes(of: frame))
        batch.removeTag(from: index)
        return tag
    }

    /// Undoes `edit`, given what it returned.
    func restore(_ index: Int, of batch: inout FrameBatch, _ tag: VLANTag?) {
        if let tag { batch.insert(tag, into: index) } else { batch.removeTag(from: index) }
    }

    /// Sends what is in `vector` and empties it. What the receiver has no room for is queued, or dropped where the
    /// queue is full.
    private mutating func flush(_ vector: inout SendVector, _ outcome: inout TransmitOutcome) {
        defer { vector.removeAll() }
        var position = 0
        if !isBlocked {
            var failure: Int32 = 0
            position = kind == .stream ? sendStream(vector, failure: &failure) : send(vector, failure: &failure)
            isBlocked = position < vector.count
            if outcome.error == 0 { outcome.error = failure }
        }
        while position < vector.count {
            if !queue.append(position, of: vector) { counters.dropped(.queueFull) }
            position += 1
        }
    }

    /// Sends the messages of `vector` until the receiver is full. Returns how many are done with, sent or dropped.
    private func send(_ vector: borrowing SendVector, failure: inout Int32) -> Int {
        var position = 0
        while position < vector.count {
            let (sent, error) = deliver(vector, from: position)
            if sent > 0 {
                var bytes = 0
                for index in position..<position + sent { bytes += vector.length(of: index) }
                counters.sent(frames: sent, bytes: bytes)
                position += sent
            }
            switch error {
            case 0:
                continue
            case Errno.again, Errno.noBuffers:
                return position
            case Errno.messageTooLong:
                counters.dropped(.oversize)
                position += 1
            default:
                // Nobody is there: the rest would fail in the same way.
                counters.dropped(.unreachable, frames: vector.count - position)
                failure = error
                return vector.count
            }
        }
        return position
    }

    private func deliver(_ vector: borrowing SendVector, from position: Int) -> (sent: Int, error: Int32) {
        if let device = device { return vector.send(to: device, from: position) }
        if destination != nil { return destination!.send(vector, from: position, through: raw) }
        return vector.send(to: raw, from: position)
    }

    /// After so many in vain, what waits is dropped: whoever is full for so long has stopped reading.
    private static let retryBudget = 200

    /// Tries again to send what waits. Returns the errno of an unreachable receiver, else 0.
    mutating func retry(with vector: inout SendVector) -> Int32 {
        let before = queue.count
        let error = drainQueue(with: &vector)
        vainRetries = queue.count < before ? 0 : vainRetries + 1
        if vainRetries >= PortEgress.retryBudget {
            counters.dropped(.queueFull, frames: queue.count)
            queue.removeAll()
            isBlocked = false
            vainRetries = 0
        }
        return error
    }

    /// Sends what waits in the queue, now that there may be room. Returns the errno of an unreachable receiver, else 0.
    mutating func drainQueue(with vector: inout SendVector) -> Int32 {
        var failure: Int32 = 0
        while !queue.isEmpty {
            vector.removeAll()
            queue.peek(into: &vector)
            let done = kind == .stream ? sendStream(vector, failure: &failure) : send(vector, failure: &failure)
            let all = done == vector.count
            queue.removeFirst(done)
            guard all else { break }
        }
        vector.removeAll()
        isBlocked = !queue.isEmpty
        return failure
    }
}
