// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// Frames that are too long for the port by which they leave. A router would cut them up or say so; between two ports of
// one network nobody else is there to do it, and a packet that vanishes without a word is what makes a connection hang.

/// Where the frames of a batch came in.
struct BatchOrigin: BitwiseCopyable {
    let port: Int
    /// Those, a bit each, that went to every port.
    var flooded: UInt64 = 0

    init(port: Int) { self.port = port }
}

/// How a frame is made shorter: TCP by segments, in which its ends notice nothing, other IPv4 packets by fragments.
private enum Cut {
    case segments(Segmenter)
    case fragments(Fragmenter)

    init?(_ frame: RawSpan, limit: Int) {
        if let offload = VirtioNetHeader(superFrame: frame, mtu: limit - 14 - VLANTag.length),
            let segmenter = Segmenter(frame, offload), segmenter.longestFrame <= limit,
            segmenter.mayCut(frame)
        {
            self = .segments(segmenter)
        } else if let fragmenter = Fragmenter(frame, limit: limit) {
            self = .fragments(fragmenter)
        } else {
            return nil
        }
    }

    /// Writes the next piece to the start of `target`, which holds the longest. Returns its length; nil after the last
    /// one.
    @_lifetime(target: copy target)
    mutating func next(_ frame: RawSpan, into target: inout MutableRawSpan) -> Int? {
        switch self {
        case .segments(var segmenter):
            guard let segment = segmenter.next(frame, header: &target) else { return nil }
            target.put(
                frame.extracting(segment.payloadOffset..<segment.payloadOffset + segment.payloadLength),
                at: segment.headerLength)
            self = .segments(segmenter)
            return segment.headerLength + segment.payloadLength
        case .fragments(var fragmenter):
            let length = fragmenter.next(frame, into: &target)
            self = .fragments(fragmenter)
            return length
        }
    }
}

extension Forwarder {
    /// Notices that one port's machines get in a second. The first one mostly ends it: the sender remembers the MTU.
    private static let noticesPerSecond: UInt16 = 32

    /// Cuts up the frame that its port has refused, in its place between the others, or answers it, where somebody may
    /// be answered. Returns those behind it.
    mutating func handleOversize(
        _ refused: Int, _ departures: UnsafeBufferPointer<Departure>, _ egress: Int
    ) -> UnsafeBufferPointer<Departure> {
        guard let place = unsafe departures.firstIndex(where: { $0.index == refused }) else {
            return unsafe UnsafeBufferPointer(rebasing: departures[..<0])
        }
        unsafe mend(departures[place], egress)
        return unsafe UnsafeBufferPointer(rebasing: departures[(place + 1)...])
    }

    private mutating func mend(_ departure: Departure, _ egress: Int) {
        if batch[departure.index].offload.segmentation == .none {
            if unsafe fragment(departure, egress, limit: ports[egress].maximumFrame - Port.growth(by: departure.edit)) {
                return
            }
            unsafe ports[egress].counters.dropped(.oversize)
        }
        // Less than fits without a tag: whether there will be one, the sender does not know.
        unsafe answer(departure.index, mtu: ports[egress].maximumFrame - 14 - VLANTag.length)
    }

    /// Sends a frame in pieces. Returns false if it must not be cut up, or cannot be.
    private mutating func fragment(_ departure: Departure, _ egress: Int, limit: Int) -> Bool {
        guard batch.completeChecksum(of: departure.index) else { return false }
        let frame = batch[departure.index]
        guard var cut = Cut(batch.bytes(of: frame), limit: limit) else { return false }
        var isOver = false
        while !isOver {
            isOver = Self.fill(&scratch, with: &cut, of: frame, in: batch, limit)
            send(from: egress, departure.edit)
        }
        return true
    }

    /// Puts as many pieces into `target` as fit. Returns true when there are no more.
    private static func fill(
        _ target: inout FrameBatch, with cut: inout Cut, of frame: FrameDescriptor, in batch: borrowing FrameBatch,
        _ limit: Int
    ) -> Bool {
        target.removeAll()
        while target.count < target.capacity {
            let place = target.count
            target.append(length: limit)
            var bytes = target.mutableBytes(of: target[place])
            guard let length = cut.next(batch.bytes(of: frame), into: &bytes) else {
                target.removeLast()
                return true
            }
            target[place].length = UInt32(length)
            target[place].vlan = frame.vlan
        }
        return false
    }

    /// Tells whoever sent frame `index` what would have fitted.
    private mutating func answer(_ index: Int, mtu: Int) {
        let ingress = origin.port
        // What went everywhere may have reached whom it was for by another port.
        guard unsafe ports[ingress].role != .service, origin.flooded >> UInt64(index) & 1 == 0,
            let notice = OversizeNotice(for: batch.bytes(of: batch[index]), mtu: mtu)
        else { return }
        if unsafe ports[ingress].ingress.noticeSecond != now {
            unsafe ports[ingress].ingress.noticeSecond = now
            unsafe ports[ingress].ingress.notices = 0
        }
        guard unsafe ports[ingress].ingress.notices < Forwarder.noticesPerSecond else { return }
        unsafe ports[ingress].ingress.notices += 1
        Self.write(notice, for: batch[index], in: batch, to: &scratch)
        send(from: ingress, .keep)
    }

    private static func write(
        _ notice: OversizeNotice, for frame: FrameDescriptor, in batch: borrowing FrameBatch,
        to target: inout FrameBatch
    ) {
        target.removeAll()
        target.append(length: notice.length)
        var bytes = target.mutableBytes(of: target[0])
        notice.emit(for: batch.bytes(of: frame), into: &bytes)
    }

    /// Sends what is in `scratch` out of a port.
    private mutating func send(from number: Int, _ edit: TagEdit) {
        guard scratch.count > 0 else { return }
        unsafe ports[number].sending.lock()
        let outcome = unsafe withUnsafeTemporaryAllocation(of: Departure.self, capacity: scratch.count) { departures in
            for index in 0..<scratch.count {
                unsafe (departures.baseAddress! + index).initialize(to: Departure(index, edit))
            }
            return unsafe ports[number].egress.transmit(UnsafeBufferPointer(departures), of: &scratch, with: &sender)
        }
        settle(number, outcome.error)
        unsafe ports[number].sending.unlock()
    }
}
