// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// Frames that are too long for the port by which they leave. A router would fragment them or answer; between two ports
// of one network there is no router, and a packet that vanishes silently makes a connection hang (RFC 2923 section 2).
// So the switch splits what may be split, and answers the rest with ICMP "fragmentation needed" or ICMPv6 "packet too
// big". Towards the TAP of a network that this program routes nothing is too long: the kernel is the router there.

extension Dispatcher {
    /// Notices that the guests of one port get in a second. The first one mostly ends it: the sender stores the MTU.
    private static let noticesPerSecond: UInt16 = 32

    /// Splits a frame that does not fit its egress port, or answers its sender.
    mutating func handleOversize(_ entry: EgressEntry, at egress: PortNumber, _ batch: inout FrameBatch) {
        let endpoint = ports[egress].endpoint
        let frame = batch[entry.index]
        if frame.offload.segmentation != .none {
            if !endpoint.acceptsGSO && endpoint.kind == .device {
                if split(entry, at: egress, limit: endpoint.maximumFrame - entry.edit.lengthDelta, &batch) { return }
            }
            // Its segments do not fit.
            let segments =
                endpoint.segments(frame, entry.edit)
                ? Segmenter(batch.bytes(of: frame), frame.offload)?.remaining ?? 1 : 1
            endpoint.counters.dropped(.oversize, frames: segments)
        } else if endpoint.needsCompleteChecksums && !batch.completeChecksum(of: entry.index) {
            return endpoint.counters.dropped(.malformed)
        } else {
            if split(entry, at: egress, limit: endpoint.maximumFrame - entry.edit.lengthDelta, &batch) { return }
            endpoint.counters.dropped(.oversize)
        }
        // Less than fits without a tag: the sender cannot see whether there will be one.
        sendNotice(about: entry.index, mtu: endpoint.maximumFrame - EthernetHeader.taggedLength, batch)
    }

    /// Sends a frame in pieces. Returns false if it must not be split, or cannot be.
    private mutating func split(
        _ entry: EgressEntry, at egress: PortNumber, limit: Int, _ batch: inout FrameBatch
    ) -> Bool {
        let isGSOFrame = batch[entry.index].offload.segmentation != .none
        // Segments get new checksums.
        guard isGSOFrame || batch.completeChecksum(of: entry.index) else { return false }
        let frame = batch[entry.index]
        guard var splitter = FrameSplitter(batch.bytes(of: frame), frame.offload, limit: limit) else { return false }
        var isDone = false
        while !isDone {
            isDone = splitter.fill(&scratch, from: frame, in: batch, limit)
            transmitScratch(by: egress, entry.edit)
        }
        return true
    }

    /// Reports the MTU to the sender of a frame.
    private mutating func sendNotice(about index: Int, mtu: Int, _ batch: borrowing FrameBatch) {
        let ingress = PortNumber(ingressInfo.port)
        // A flooded frame may have reached its receiver by another port.
        guard ports[ingress].role != .service, ingressInfo.flooded >> UInt64(index) & 1 == 0,
            let notice = OversizeNotice(for: batch.bytes(of: batch[index]), mtu: mtu)
        else { return }
        if ports[ingress].ingress.noticeSecond != now {
            ports[ingress].ingress.noticeSecond = now
            ports[ingress].ingress.notices = 0
        }
        guard ports[ingress].ingress.notices < Dispatcher.noticesPerSecond else { return }
        ports[ingress].ingress.notices += 1
        scratch.removeAll()
        scratch.append(length: notice.length)
        Dispatcher.write(notice, about: batch[index], in: batch, to: &scratch)
        guard ports[ingress].endpoint.fits(scratch[0], .keep, in: scratch) else { return }
        transmitScratch(by: ingress)
    }

    private static func write(
        _ notice: OversizeNotice, about frame: FrameDescriptor, in batch: borrowing FrameBatch,
        to target: inout FrameBatch
    ) {
        var bytes = target.mutableBytes(of: target[0])
        notice.emit(for: batch.bytes(of: frame), into: &bytes)
    }
}

/// Makes a frame into shorter ones: GSO frames and other TCP by segments, which its endpoints do not notice, other IPv4
/// packets by fragments.
private enum FrameSplitter {
    case segments(Segmenter)
    case fragments(Fragmenter)

    init?(_ frame: RawSpan, _ offload: VirtioNetHeader, limit: Int) {
        if offload.segmentation != .none {
            guard let segmenter = Segmenter(frame, offload), segmenter.longestFrame <= limit else { return nil }
            self = .segments(segmenter)
        } else if let offload = VirtioNetHeader(gsoFrame: frame, mtu: limit - EthernetHeader.taggedLength),
            let segmenter = Segmenter(frame, offload), segmenter.longestFrame <= limit,
            segmenter.maySplit(frame)
        {
            self = .segments(segmenter)
        } else if let fragmenter = Fragmenter(frame, limit: limit) {
            self = .fragments(fragmenter)
        } else {
            return nil
        }
    }

    /// Puts as many pieces of `frame` into `target` as fit. Returns true if there are no more.
    mutating func fill(
        _ target: inout FrameBatch, from frame: FrameDescriptor, in batch: borrowing FrameBatch, _ limit: Int
    ) -> Bool {
        target.removeAll()
        while target.count < target.capacity {
            let index = target.count
            target.append(length: limit)
            var bytes = target.mutableBytes(of: target[index])
            guard let length = writePiece(of: batch.bytes(of: frame), into: &bytes) else {
                target.removeLast()
                return true
            }
            target[index].length = UInt32(length)
            target[index].vlan = frame.vlan
        }
        return false
    }

    /// Writes the next piece to the start of `target`, which holds the longest. Returns its length; nil after the last
    /// one.
    @_lifetime(target: copy target)
    private mutating func writePiece(of frame: RawSpan, into target: inout MutableRawSpan) -> Int? {
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
