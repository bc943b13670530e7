// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// Frames to the address, name, boot and router services, which run on the control thread: they go by
// rings.

extension Dispatcher {
    /// Appends frames to the services' rings.
    mutating func deliverToServices(_ entries: Span<EgressEntry>, _ batch: inout FrameBatch) {
        let port = SwitchControl.servicePort
        // Several workers append.
        ports[port].egressLock.lock()
        for position in 0..<entries.count {
            let index = entries[position].index
            guard batch.completeChecksum(of: index) else { continue }
            let tags = RemovedTags.remove(from: index, of: &batch)
            let frame = batch[index]
            if ring(for: batch.bytes(of: frame)).append(batch.bytes(of: frame), from: PortNumber(ingressInfo.port)) {
                control.serviceCounters.sent(frames: 1, bytes: Int(frame.length))
            } else {
                control.serviceCounters.dropped(
                    Int(frame.length) > ServiceFrameRing.maximumFrameLength ? .oversize : .queueFull)
            }
            tags.restore(to: index, of: &batch)
        }
        ports[port].egressLock.unlock()
        control.notification.signal()
    }

    /// The ring of the service that takes a frame.
    private func ring(for frame: RawSpan) -> ServiceFrameRing {
        if let names = settings.names, NameTransport(of: frame, to: names) == .datagram { return control.nameQueries }
        if let boot = settings.boot, boot.part(of: frame) == .whole { return control.bootRequests }
        if settings.hasRouter, frame.big16(at: EthernetHeader.Field.type) == EtherType.ipv6 {
            return control.routerRequests
        }
        return control.toService
    }
}

/// Tags that were removed from a frame, the outermost first. The services read plain frames, as a kernel does after
/// its VLAN interfaces; other ports may send the same frame with its tags.
private struct RemovedTags: BitwiseCopyable {
    private var count = 0
    private var values = SIMD4<UInt32>()

    private init(of frame: RawSpan) {
        guard frame.big16(at: EthernetHeader.Field.type) != EtherType.ipv4,
            frame.big16(at: EthernetHeader.Field.type) != EtherType.arp
        else { return }
        let header = LinkHeader(frame)
        guard !header.hasSNAP else { return }
        count = header.depth
        for index in 0..<count { values[index] = frame.big32(at: EthernetHeader.Field.type + index * VLANTag.length) }
    }

    static func remove(from index: Int, of batch: inout FrameBatch) -> RemovedTags {
        let tags = RemovedTags(of: batch.bytes(of: batch[index]))
        for _ in 0..<tags.count { batch.removeTag(from: index) }
        return tags
    }

    func restore(to index: Int, of batch: inout FrameBatch) {
        for tag in (0..<count).reversed() {
            batch.insert(
                VLANTag(
                    protocolIdentifier: UInt16(values[tag] >> 16), control: UInt16(truncatingIfNeeded: values[tag])),
                into: index)
        }
    }
}
