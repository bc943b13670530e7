// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// How frames go out by a port, and the frames that wait for room there. Used under the port's `egressLock`.
///
/// Every function that sends returns the positive errno of a receiver that is gone, else 0. The frames that it is given
/// fit the port (`PortEndpoint.fits`); the `Dispatcher` has decided about the others.
struct PortEgress: ~Copyable {
    private var queue = TransmitQueue()
    /// The receiver is full: new frames go to the queue.
    private(set) var isCongested = false
    /// Retries in a row that sent nothing, for a receiver that does not report room.
    private var failedRetries = 0
    let streamFramer: StreamFramer?
    /// Bytes of the queue's first frame, its length prefix included, that a stream has taken already.
    var sentOfFirst = 0
    /// The stream has ended and is not watched any more. Changed under `egressLock` and `Fabric.tablesLock`, read under
    /// either.
    var hasEnded = false
    /// For a client of a datagram listener that is sent to by name.
    private let destination: DatagramDestination?

    init(_ configuration: PortConfiguration) {
        streamFramer = configuration.kind == .stream ? StreamFramer() : nil
        destination = configuration.kind == .datagramClient ? DatagramDestination(configuration.destination) : nil
    }

    /// Sends these frames in this order. What the receiver has no room for is queued, or dropped if the queue is full.
    mutating func transmit(
        _ entries: Span<EgressEntry>, of batch: inout FrameBatch, to endpoint: PortEndpoint,
        with vector: inout SendVector
    ) -> Int32 {
        switch endpoint.kind {
        case .datagram, .stream, .sequencedPacket, .datagramClient:
            endpoint.offloadMTU > 0
                ? transmitOffloaded(entries, of: &batch, to: endpoint, with: &vector)
                : transmitSegmented(entries, of: &batch, to: endpoint, with: &vector)
        case .tap: PortEgress.transmitCoalesced(entries, of: &batch, to: endpoint, with: &vector)
        case .device where endpoint.device!.coalescesSegments:
            PortEgress.transmitCoalesced(entries, of: &batch, to: endpoint, with: &vector)
        case .packet, .device: transmitWhole(entries, of: &batch, to: endpoint, with: &vector)
        case .service, .datagramListener: 0
        }
    }

    /// To a receiver of plain frames: GSO frames are segmented on the way, tags are changed in the vector.
    private mutating func transmitSegmented(
        _ entries: Span<EgressEntry>, of batch: inout FrameBatch, to endpoint: PortEndpoint,
        with vector: inout SendVector
    ) -> Int32 {
        var error: Int32 = 0
        vector.removeAll()
        for position in 0..<entries.count {
            let entry = entries[position]
            let index = entry.index, edit = entry.edit
            let frame = batch[index]
            if frame.offload.segmentation != .none {
                appendSegments(of: frame, edit, batch, to: endpoint, &vector, &error)
                continue
            }
            guard batch.completeChecksum(of: index) else {
                endpoint.counters.dropped(.malformed)
                continue
            }
            if vector.isFull { sendOrQueue(&vector, endpoint, &error) }
            if edit == .keep {
                vector.append(frame: frame, of: batch)
            } else {
                vector.append(frame: frame, of: batch, edit: edit)
            }
        }
        sendOrQueue(&vector, endpoint, &error)
        return error
    }

    /// Appends the frames that a GSO frame is segmented into, and sends what `vector` has no room for.
    mutating func appendSegments(
        of frame: FrameDescriptor, _ edit: TagEdit, _ batch: borrowing FrameBatch, to endpoint: PortEndpoint,
        _ vector: inout SendVector, _ error: inout Int32
    ) {
        guard var segmenter = Segmenter(batch.bytes(of: frame), frame.offload) else {
            return endpoint.counters.dropped(.malformed)
        }
        repeat {
            if vector.isFull { sendOrQueue(&vector, endpoint, &error) }
        } while vector.append(nextOf: &segmenter, from: frame, in: batch, edit: edit)
    }

    /// To a receiver of each frame in one piece, after a virtio header or with its checksum complete.
    private mutating func transmitWhole(
        _ entries: Span<EgressEntry>, of batch: inout FrameBatch, to endpoint: PortEndpoint,
        with vector: inout SendVector
    ) -> Int32 {
        var error: Int32 = 0
        let headerLength = endpoint.headerLength, acceptsGSO = endpoint.acceptsGSO
        vector.removeAll()
        for position in 0..<entries.count {
            let entry = entries[position]
            let index = entry.index
            let isAcceptable = batch[index].offload.segmentation == .none || acceptsGSO
            guard headerLength > 0 || (isAcceptable && batch.completeChecksum(of: index)) else {
                endpoint.counters.dropped(.malformed)
                continue
            }
            guard entry.edit == .keep else {
                // In place, and undone: other ports may send the frame as it was.
                sendOrQueue(&vector, endpoint, &error)
                let tag = batch.apply(entry.edit, to: index)
                PortEgress.append(index, of: &batch, to: &vector, headerLength)
                sendOrQueue(&vector, endpoint, &error)
                batch.revert(entry.edit, of: index, tag)
                continue
            }
            if vector.isFull { sendOrQueue(&vector, endpoint, &error) }
            PortEgress.append(index, of: &batch, to: &vector, headerLength)
        }
        sendOrQueue(&vector, endpoint, &error)
        return error
    }

    private static func append(
        _ index: Int, of batch: inout FrameBatch, to vector: inout SendVector, _ headerLength: Int
    ) {
        if headerLength > 0 {
            PacketIO.append(index, of: &batch, to: &vector, headerLength: headerLength)
        } else {
            vector.append(frame: batch[index], of: batch)
        }
    }

    /// Sends the messages of `vector` and empties it. The rest is queued if the receiver is full.
    mutating func sendOrQueue(_ vector: inout SendVector, _ endpoint: PortEndpoint, _ error: inout Int32) {
        defer { vector.removeAll() }
        var position = 0
        if !isCongested {
            var failure: Int32 = 0
            position = sendMessages(vector, endpoint, &failure)
            isCongested = position < vector.count
            if error == 0 { error = failure }
        }
        while position < vector.count {
            if !queue.append(position, of: vector) { endpoint.counters.dropped(.queueFull) }
            position += 1
        }
        if isCongested { endpoint.counters.setQueued(queue.count) }
    }

    /// Sends until the receiver is full. Returns how many messages are done with, sent or dropped.
    private mutating func sendMessages(
        _ vector: borrowing SendVector, _ endpoint: PortEndpoint, _ failure: inout Int32
    ) -> Int {
        endpoint.kind == .stream
            ? sendStream(vector, endpoint, &failure) : sendDatagrams(vector, endpoint, &failure)
    }

    private func sendDatagrams(
        _ vector: borrowing SendVector, _ endpoint: PortEndpoint, _ failure: inout Int32
    ) -> Int {
        var position = 0
        while position < vector.count {
            let (sent, error) = sendBatch(vector, endpoint, from: position)
            if sent > 0 {
                var bytes = 0
                for index in position..<position + sent { bytes += vector.length(of: index) }
                endpoint.counters.sent(frames: sent, bytes: bytes)
                position += sent
            }
            switch error {
            case 0:
                continue
            case Errno.again, Errno.noBuffers:
                return position
            case Errno.messageTooLong:
                endpoint.counters.dropped(.oversize)
                position += 1
            case Errno.networkDown:
                // A guest that does not run yet.
                endpoint.counters.dropped(.unreachable, frames: vector.count - position)
                return vector.count
            default:
                // The receiver is gone: the rest would fail in the same way.
                endpoint.counters.dropped(.unreachable, frames: vector.count - position)
                failure = error
                return vector.count
            }
        }
        return position
    }

    private func sendBatch(
        _ vector: borrowing SendVector, _ endpoint: PortEndpoint, from position: Int
    ) -> (sent: Int, error: Int32) {
        if let device = endpoint.device { return vector.send(to: device, from: position) }
        if destination != nil { return destination!.send(vector, from: position, through: endpoint.raw) }
        return vector.send(to: endpoint.raw, from: position)
    }

    // MARK: The queue

    /// After so many failed retries the queue is dropped: the receiver has stopped reading.
    private static let retryBudget = 200

    /// Tries again to send the queue to a receiver that does not report room.
    mutating func retry(to endpoint: PortEndpoint, with vector: inout SendVector) -> Int32 {
        let before = queue.count
        let error = drainQueue(to: endpoint, with: &vector)
        failedRetries = queue.count < before ? 0 : failedRetries + 1
        if failedRetries >= PortEgress.retryBudget {
            endpoint.counters.dropped(.queueFull, frames: queue.count)
            queue.removeAll()
            endpoint.counters.setQueued(0)
            isCongested = false
            failedRetries = 0
        }
        return error
    }

    /// Sends the queue, now that there may be room.
    mutating func drainQueue(to endpoint: PortEndpoint, with vector: inout SendVector) -> Int32 {
        var failure: Int32 = 0
        while !queue.isEmpty {
            vector.removeAll()
            queue.peek(into: &vector)
            let done = sendMessages(vector, endpoint, &failure)
            let isComplete = done == vector.count
            queue.removeFirst(done)
            guard isComplete else { break }
        }
        vector.removeAll()
        isCongested = !queue.isEmpty
        endpoint.counters.setQueued(queue.count)
        return failure
    }
}

extension FrameBatch {
    /// Changes the tag of frame `index` in place. Returns the tag that was removed, for `revert`.
    mutating func apply(_ edit: TagEdit, to index: Int) -> VLANTag? {
        switch edit {
        case .keep:
            return nil
        case .insert:
            insert(VLANTag(protocolIdentifier: EtherType.vlan, control: self[index].vlan), into: index)
            return nil
        case .strip:
            let tag = VLANTag(ofFrame: bytes(of: self[index]))
            removeTag(from: index)
            return tag
        }
    }

    /// Undoes `apply`, given what it returned.
    mutating func revert(_ edit: TagEdit, of index: Int, _ tag: VLANTag?) {
        switch edit {
        case .keep: break
        case .insert: removeTag(from: index)
        case .strip: if let tag { insert(tag, into: index) }
        }
    }
}
