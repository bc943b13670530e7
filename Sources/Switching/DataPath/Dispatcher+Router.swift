// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Wire

// The gateway as an IPv6 router. With `tablesLock`.

extension Dispatcher {
    /// Sets the router flag in a neighbour advertisement of the gateway, for which this program advertises a router.
    ///
    /// A kernel answers as a host on an interface that only `force_forwarding` lets forward, and guests that see a
    /// router's flag go remove the router from their list (RFC 4861 section 7.2.5). They would do so as soon as they
    /// probe it: after some seconds of datagrams that no answer confirms.
    func markRouter(_ context: FrameContext, _ header: FrameHeader, _ batch: inout FrameBatch) {
        guard settings.hasRouter, header.source == settings.rules.gatewayHardware else { return }
        let frame = batch[context.index]
        let start = header.payloadStart, message = start + IPv6Header.length
        guard let flags = NeighborMessage.flagsWithoutRouter(batch.bytes(of: frame), at: start) else { return }
        // One bit more in the message changes the sum by its weight (RFC 1624).
        let checksum = batch.bytes(of: frame).big16(at: message + ICMPHeader.Field.checksum)
        var sum = InternetChecksum(partial: ~checksum)
        sum.add(word: UInt16(NDPView.Flags.router) << 8)
        var bytes = batch.mutableBytes(of: frame)
        bytes.put8(flags | NDPView.Flags.router, at: message + NDPView.Field.flags)
        bytes.put16(sum.finished, at: message + ICMPHeader.Field.checksum)
    }
}

extension NeighborMessage {
    /// The flags of a neighbour advertisement without the router flag; nil for any other packet.
    fileprivate static func flagsWithoutRouter(_ frame: RawSpan, at start: Int) -> UInt8? {
        let message = start + IPv6Header.length
        guard frame.byteCount >= message + NDPView.headerLength,
            frame.byte(at: start + IPv6Header.Field.nextHeader) == IPProtocol.icmpv6,
            frame.byte(at: message + ICMPHeader.Field.type) == ICMPv6Type.neighborAdvertisement
        else { return nil }
        let flags = frame.byte(at: message + NDPView.Field.flags)
        return flags & NDPView.Flags.router == 0 ? flags : nil
    }
}
