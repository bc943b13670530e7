// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// The address service's frames, which come and go by rings.

extension Forwarder {
    mutating func drainService() {
        let number = Int(SwitchControl.servicePort)
        while true {
            batch.removeAll()
            while batch.count < batch.capacity {
                guard
                    let frame = control.fromService.takeFirst({ $0.copied() })
                        ?? control.answers.takeFirst({ $0.copied() })
                else { break }
                batch.append(copying: frame.rawSpan)
            }
            if batch.count == 0 { return }
            forward(from: number)
        }
    }

    mutating func deliverToService(_ departures: UnsafeBufferPointer<Departure>) {
        let number = Int(SwitchControl.servicePort)
        unsafe ports[number].sending.lock()
        for place in 0..<departures.count {
            let index = unsafe departures[place].index
            guard batch.completeChecksum(of: index) else { continue }
            let tags = removeTags(from: index)
            let frame = batch[index]
            let isQuestion = state.names.map { NameTransport(of: batch.bytes(of: frame), to: $0) == .datagram } ?? false
            if (isQuestion ? control.questions : control.toService).append(
                batch.bytes(of: frame), from: PortNumber(origin.port))
            {
                control.serviceCounters.sent(frames: 1, bytes: Int(frame.length))
            } else {
                control.serviceCounters.dropped(Int(frame.length) > FrameRing.slotCapacity ? .oversize : .queueFull)
            }
            restore(tags, to: index)
        }
        unsafe ports[number].sending.unlock()
        control.notification.signal()
    }

    /// Tags that were taken out of a frame, the outermost first.
    private struct Tags: BitwiseCopyable {
        var count = 0
        var values = SIMD4<UInt32>()

        init(of frame: RawSpan) {
            guard frame.big16(at: 12) != EtherType.ipv4, frame.big16(at: 12) != EtherType.arp else { return }
            let header = LinkHeader(frame)
            guard !header.hasSNAP else { return }
            count = header.depth
            for place in 0..<count { values[place] = frame.big32(at: 12 + place * VLANTag.length) }
        }
    }

    /// The service reads plain frames, as a kernel does behind its tags. Others may be sent this one with them.
    private mutating func removeTags(from index: Int) -> Tags {
        let tags = Tags(of: batch.bytes(of: batch[index]))
        for _ in 0..<tags.count { batch.removeTag(from: index) }
        return tags
    }

    private mutating func restore(_ tags: Tags, to index: Int) {
        for place in (0..<tags.count).reversed() {
            batch.insert(
                VLANTag(
                    protocolIdentifier: UInt16(tags.values[place] >> 16),
                    control: UInt16(truncatingIfNeeded: tags.values[place])), into: index)
        }
    }
}
