// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform
import Wire

/// A frame that leaves through a port: its index in the batch, and what happens to its VLAN tag there.
@usableFromInline
struct Departure: BitwiseCopyable {
    private let raw: UInt16

    init(_ index: Int, _ edit: TagEdit) { raw = UInt16(truncatingIfNeeded: index) | UInt16(edit.rawValue) << 14 }

    var index: Int { Int(raw & 0x3fff) }
    var edit: TagEdit { TagEdit(rawValue: UInt8(raw >> 14)) ?? .keep }
}

/// One port of the switch: its descriptor, its counters, and what waits to be sent through it. Belongs to one forwarder's thread.
@usableFromInline
struct Port: ~Copyable {
    let number: PortNumber
    let configuration: PortConfiguration
    let descriptor: Descriptor?
    let raw: Int32
    @usableFromInline let kind: PortKind
    @usableFromInline let role: PortRole
    @usableFromInline let maximumFrame: Int
    /// Other than 0: one of several ends of a port.
    let bundle: UInt16
    /// The next in the ring of a bundle's ends; the port itself where it is alone.
    var sibling: PortNumber
    /// The VLAN of frames without a tag.
    var untaggedVLAN: UInt16
    /// Nothing goes in or out, because of a loop, until `closedUntil` (seconds).
    var isClosed = false
    var closedUntil: UInt32 = 0
    /// A probe was sent to find out whether the loop is still there.
    var isOnTrial = false
    let counters: PortCounters
    var queue = TransmitQueue()
    /// The receiver is full: the poller watches for room, and frames go to the queue.
    var isBlocked = false
    /// The poller was told so, or where it cannot tell of room, the forwarder.
    var isWatchingForRoom = false
    /// Not read for a moment, because a receiver of what it sends is full.
    var isHeld = false
    /// Not in the poller while it is held.
    var isSilenced = false
    /// Full for so long that nobody is held for it any more, until its queue has been empty.
    var isSlow = false
    /// Until when others are held for this port; 0 while nobody is.
    var patienceEnds: UInt64 = 0
    /// How many frames to receive at once, so that they are still in the cache when they are sent on.
    private var receiveLimit = Forwarder.batchCapacity
    /// Attempts in a row to send what waits that got nothing through, for a receiver that does not tell of room.
    var vainRetries = 0
    /// An `unreachable` event was sent and not yet answered.
    var isReported = false
    /// A frame has arrived since the last (re)arming.
    var hasReceived = false
    /// Failed receives in a row; a descriptor that only fails is no longer watched.
    var failures = 0
    /// An empty datagram was among the frames received last.
    var saidGoodbye = false
    /// What has come on a stream, and is about to go.
    var incoming = StreamFrames()
    let outgoing: StreamVector?
    /// For a client of a datagram door.
    let destination: DatagramDestination?
    let pin: Descriptor?
    /// The frame of the batch that was too long to be sent, where `transmit` has stopped; -1 if it has not.
    var refused = -1
    /// Answers about such frames in this second.
    var noticeSecond: UInt32 = 0
    var notices: UInt16 = 0
    /// Bytes of the queue's first frame, its length included, that a stream has taken already.
    var sentOfFirst = 0
    /// A `goodbye` event was sent since the last (re)arming.
    var isGoodbyeReported = false

    init(_ number: PortNumber, _ configuration: PortConfiguration, _ counters: PortCounters) {
        self.number = number
        self.configuration = configuration
        self.counters = counters
        raw = configuration.descriptor
        descriptor = configuration.descriptor >= 0 ? Descriptor(adopting: configuration.descriptor) : nil
        kind = configuration.kind
        role = configuration.role
        maximumFrame = configuration.maximumFrame
        bundle = configuration.bundle
        sibling = number
        untaggedVLAN = configuration.untaggedVLAN
        outgoing = configuration.kind == .stream ? StreamVector() : nil
        destination = configuration.kind == .datagramClient ? DatagramDestination(configuration.destination) : nil
        pin = configuration.pin >= 0 ? Descriptor(adopting: configuration.pin) : nil
    }

    /// Frames that carry so many bytes together are enough for a batch, so that they are still in the cache when they are sent on.
    private static let batchBytes = 256 * 1024

    // MARK: Receiving

    /// Fills the empty `batch`. Returns false when nothing is left to receive for now; an error is in `error`.
    mutating func receive(into batch: inout FrameBatch, with vector: inout ReceiveVector, error: inout Int32) -> Bool {
        let limit = kind == .datagram ? receiveLimit : batch.capacity
        let outcome =
            switch kind {
            case .datagram: receiveDatagrams(into: &batch, with: &vector)
            case .stream: incoming.receive(from: raw, into: &batch)
            case .tap: TapFrames.receive(from: raw, into: &batch, byteLimit: Port.batchBytes)
            case .packet: PacketFrames.receive(from: raw, into: &batch, byteLimit: Port.batchBytes)
            case .device: receiveFromDevice(into: &batch, with: &vector)
            case .service, .datagramDoor, .datagramClient: ReceiveOutcome()
            }
        error = outcome.error
        failures = outcome.error == 0 ? 0 : failures + 1
        saidGoodbye = outcome.empty > 0
        if outcome.truncated > 0 { counters.dropped(.oversize, frames: outcome.truncated) }
        if kind == .stream { return incoming.holdsFrame }
        // A full batch, or one that ended for its bytes, may have left frames behind.
        return outcome.frames == limit || (kind != .datagram && outcome.frames > 0)
    }

    private mutating func receiveDatagrams(into batch: inout FrameBatch, with vector: inout ReceiveVector) -> ReceiveOutcome {
        let outcome = vector.receive(from: raw, into: &batch, limit: receiveLimit)
        guard outcome.frames > 0 else { return outcome }
        // Frames of a burst are mostly of one size.
        let length = Int(batch[outcome.frames - 1].length)
        receiveLimit = length <= Port.batchBytes / batch.capacity ? batch.capacity : max(4, Port.batchBytes / length)
        return outcome
    }

    private func receiveFromDevice(into batch: inout FrameBatch, with vector: inout ReceiveVector) -> ReceiveOutcome {
        Wakeup.drain(raw)
        return vector.receive(from: configuration.device!, into: &batch)
    }

    // MARK: Sending

    /// Sends these frames, in this order, or queues or drops them, up to the first that is too long. Returns the errno of an unreachable receiver, else 0.
    mutating func transmit(_ departures: UnsafeBufferPointer<Departure>, of batch: inout FrameBatch, with vector: inout SendVector) -> Int32 {
        switch kind {
        case .datagram, .stream, .datagramClient: unsafe transmitDatagrams(departures, of: &batch, with: &vector)
        case .tap: unsafe transmitInRuns(departures, of: &batch, with: &vector)
        case .device where configuration.device!.takesPieces: unsafe transmitInRuns(departures, of: &batch, with: &vector)
        case .packet:
            unsafe transmitWhole(
                departures, headerLength: VirtioNetHeader.shortLength, maximumSuperFrame: FrameBatch.maximumFrameLength, of: &batch, with: &vector)
        case .device:
            unsafe transmitWhole(
                departures, headerLength: configuration.device!.headerLength, maximumSuperFrame: configuration.device!.maximumSuperFrame, of: &batch, with: &vector)
        case .service, .datagramDoor: 0
        }
    }

    private mutating func transmitDatagrams(_ departures: UnsafeBufferPointer<Departure>, of batch: inout FrameBatch, with vector: inout SendVector) -> Int32 {
        var error: Int32 = 0
        vector.removeAll()
        for unsafe departure in unsafe departures {
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
                    refused = index
                    break
                }
                repeat {
                    if vector.isFull { error = first(error, flush(&vector)) }
                } while vector.append(nextOf: &segmenter, from: frame, in: batch, edit: edit)
                continue
            }
            guard batch.completeChecksum(of: index) else {
                counters.dropped(.malformed)
                continue
            }
            guard Int(frame.length) + change <= maximumFrame else {
                refused = index
                break
            }
            if vector.isFull { error = first(error, flush(&vector)) }
            if edit == .keep { vector.append(frame: frame, of: batch) } else { vector.append(frame: frame, of: batch, edit: edit) }
        }
        return first(error, flush(&vector))
    }

    /// To what takes every frame in one piece: behind a virtio header of so many bytes, or without one (0), and then also with its checksum, and
    /// nothing that is to be segmented unless it takes super-frames.
    private mutating func transmitWhole(
        _ departures: UnsafeBufferPointer<Departure>, headerLength: Int, maximumSuperFrame: Int, of batch: inout FrameBatch, with vector: inout SendVector
    ) -> Int32 {
        var error: Int32 = 0
        vector.removeAll()
        for unsafe departure in unsafe departures {
            let index = departure.index
            let isOneFrame = batch[index].offload.segmentation == .none || maximumSuperFrame > 0
            guard headerLength > 0 || (isOneFrame && batch.completeChecksum(of: index)) else {
                counters.dropped(.malformed)
                continue
            }
            guard carries(batch[index], departure.edit, maximumSuperFrame) else {
                refuse(index, batch[index])
                break
            }
            guard departure.edit == .keep else {
                // In place, and undone: other ports may want the frame as it was.
                error = first(error, flush(&vector))
                let undo = edit(index, of: &batch, departure.edit)
                append(index, of: &batch, to: &vector, headerLength)
                error = first(error, flush(&vector))
                restore(index, of: &batch, undo)
                continue
            }
            if vector.isFull { error = first(error, flush(&vector)) }
            append(index, of: &batch, to: &vector, headerLength)
        }
        return first(error, flush(&vector))
    }

    private func append(_ index: Int, of batch: inout FrameBatch, to vector: inout SendVector, _ headerLength: Int) {
        if headerLength > 0 {
            PacketFrames.append(index, of: &batch, to: &vector, headerLength: headerLength)
        } else {
            vector.append(frame: batch[index], of: batch)
        }
    }

    /// The first of two errors that is one.
    private func first(_ one: Int32, _ other: Int32) -> Int32 { one != 0 ? one : other }

    /// Leaves a frame to the forwarder that is too long. What is not to be cut up is dropped here.
    mutating func refuse(_ index: Int, _ frame: FrameDescriptor) {
        refused = index
        if frame.offload.segmentation != .none { counters.dropped(.oversize) }
    }

    /// Bytes by which a frame grows.
    static func growth(by edit: TagEdit) -> Int {
        switch edit {
        case .keep: 0
        case .insert: VLANTag.length
        case .strip: -VLANTag.length
        }
    }

    /// Whether a device takes a frame of this length: what is to be segmented there may be longer.
    func carries(_ frame: FrameDescriptor, _ edit: TagEdit, _ maximumSuperFrame: Int = FrameBatch.maximumFrameLength) -> Bool {
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

    /// Sends what is in `vector` and empties it. What the receiver has no room for is queued, or dropped where the queue is full.
    private mutating func flush(_ vector: inout SendVector) -> Int32 {
        defer { vector.removeAll() }
        var position = 0
        var failure: Int32 = 0
        if !isBlocked {
            position = kind == .stream ? sendStream(vector, failure: &failure) : send(vector, failure: &failure)
            isBlocked = position < vector.count
        }
        while position < vector.count {
            if !queue.append(position, of: vector) { counters.dropped(.queueFull) }
            position += 1
        }
        return failure
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
        if let device = configuration.device { return vector.send(to: device, from: position) }
        if destination != nil { return destination!.send(vector, from: position, through: raw) }
        return vector.send(to: raw, from: position)
    }

    /// Nanoseconds between attempts to send to a full receiver that does not tell of room.
    static let retryPause = MonotonicClock.millisecond
    /// After so many in vain, what waits is dropped: whoever is full for so long has stopped reading.
    private static let retryBudget = 200

    /// Whether the poller tells when a full receiver has room again. Of a device it knows nothing, nor of a receiver that the socket is not connected to.
    var tellsOfRoom: Bool { kind == .stream || (kind != .device && kind != .datagramClient && Poller.tellsOfRoom) }

    /// Tries again to send what waits. Returns the errno of an unreachable receiver, else 0.
    mutating func retry(with vector: inout SendVector) -> Int32 {
        let before = queue.count
        let error = drainQueue(with: &vector)
        vainRetries = queue.count < before ? 0 : vainRetries + 1
        if vainRetries >= Port.retryBudget {
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
