// SPDX-License-Identifier: Apache-2.0
import Wire

/// A message that reports to a sender that its packet was too long for the link to the receiver: ICMP "fragmentation
/// needed" with the MTU (RFC 792, RFC 1191 section 4), ICMPv6 "packet too big" (RFC 4443 section 3.2). Its source is
/// the packet's destination, because the switch has no address there; the sender checks only that the quoted packet was
/// its own.
package struct OversizeNotice: BitwiseCopyable, Sendable {
    /// As much of the packet is quoted as fits the longest packet that every host must accept: 576 bytes (RFC 1812
    /// section 4.3.2.3), 1280 (RFC 4443).
    package static var maximumLength: Int { EthernetHeader.doubleTaggedLength + IPv6Header.minimumMTU }

    private let network: Int
    private let isIPv6: Bool
    private let quoted: Int
    private let mtu: Int

    /// - Parameter mtu: bytes of the longest packet that fits.
    ///
    /// Returns nil if no such message may be sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4): about group
    /// addresses, error messages, fragments other than the first, and other protocols than IP.
    package init?(for frame: RawSpan, mtu: Int) {
        guard let (type, network) = EthernetHeader.network(of: frame),
            frame.byte(at: EthernetHeader.Field.destination) & EthernetHeader.groupBit == 0,
            frame.byte(at: EthernetHeader.Field.source) & EthernetHeader.groupBit == 0
        else { return nil }
        let length: Int
        switch type {
        case EtherType.ipv4:
            guard let packet = try? IPv4View(frame.from(network)), packet.hasValidChecksum,
                mtu >= IPv4Header.minimumMTU,
                packet.bytes.byteCount > mtu
            else { return nil }
            guard OversizeNotice.isHost(packet.source), OversizeNotice.isHost(packet.destination),
                packet.fragmentOffset == 0
            else { return nil }
            if packet.protocolNumber == IPProtocol.icmp {
                // Answers to echo, and questions; everything else may be an error.
                guard packet.payload.byteCount > 0 else { return nil }
                switch packet.payload.byte(at: ICMPHeader.Field.type) {
                case ICMPType.echoReply, ICMPType.echoRequest, ICMPType.timestamp, ICMPType.timestampReply: break
                default: return nil
                }
            }
            isIPv6 = false
            length = packet.bytes.byteCount
            quoted = min(length, IPv4Header.minimumReassembly - IPv4Header.length - ICMPHeader.length)
        case EtherType.ipv6:
            guard let packet = try? IPv6View(frame.from(network)), mtu >= IPv6Header.minimumMTU,
                packet.bytes.byteCount > mtu
            else { return nil }
            guard !packet.source.isMulticast, !packet.destination.isMulticast, packet.source.high != 0 else {
                return nil
            }
            if packet.nextHeader == IPProtocol.icmpv6 {
                guard packet.payload.byteCount > 0,
                    packet.payload.byte(at: ICMPHeader.Field.type) >= ICMPv6Type.firstInformational
                else { return nil }
            }
            isIPv6 = true
            length = packet.bytes.byteCount
            quoted = min(length, IPv6Header.minimumMTU - IPv6Header.length - ICMPHeader.length)
        default:
            return nil
        }
        self.network = network
        self.mtu = mtu
    }

    private static func isHost(_ address: IPv4Address) -> Bool { address.value != 0 && address.value < 0xe000_0000 }

    /// Bytes of the frame that `emit` writes.
    package var length: Int {
        network + (isIPv6 ? IPv6Header.length : IPv4Header.length) + ICMPHeader.length + quoted
    }

    /// Writes the frame to the start of `target`. `frame` is the one that this was made for.
    @_lifetime(target: copy target)
    package func emit(for frame: RawSpan, into target: inout MutableRawSpan) {
        let destination = EthernetHeader.Field.destination, source = EthernetHeader.Field.source
        let type = EthernetHeader.Field.type
        target.put(frame.extracting(source..<type), at: destination)
        target.put(frame.extracting(destination..<source), at: source)
        target.put(frame.extracting(type..<network), at: type)
        if isIPv6 { emit6(frame, &target) } else { emit4(frame, &target) }
    }

    @_lifetime(target: copy target)
    private func emit4(_ frame: RawSpan, _ target: inout MutableRawSpan) {
        var header = IPv4Header(
            source: IPv4Address(frame, at: network + IPv4Header.Field.destination),
            destination: IPv4Address(frame, at: network + IPv4Header.Field.source), protocolNumber: IPProtocol.icmp)
        header.dontFragment = false
        header.emit(into: &target, at: network, payloadLength: ICMPHeader.length + quoted)
        emitMessage(
            frame, &target, at: network + IPv4Header.length, type: ICMPType.destinationUnreachable,
            code: ICMPUnreachableCode.fragmentationNeeded, mtu: min(mtu, Int(UInt16.max)), InternetChecksum())
    }

    @_lifetime(target: copy target)
    private func emit6(_ frame: RawSpan, _ target: inout MutableRawSpan) {
        let header = IPv6Header(
            source: IPv6Address(frame, at: network + IPv6Header.Field.destination),
            destination: IPv6Address(frame, at: network + IPv6Header.Field.source), nextHeader: IPProtocol.icmpv6)
        header.emit(into: &target, at: network, payloadLength: ICMPHeader.length + quoted)
        emitMessage(
            frame, &target, at: network + IPv6Header.length, type: ICMPv6Type.packetTooBig, code: 0, mtu: mtu,
            header.pseudoHeader(length: ICMPHeader.length + quoted))
    }

    /// Writes the ICMP or ICMPv6 message, whose MTU is in the last bytes of its header: two or four.
    @_lifetime(target: copy target)
    private func emitMessage(
        _ frame: RawSpan, _ target: inout MutableRawSpan, at message: Int, type: UInt8, code: UInt8, mtu: Int,
        _ pseudoHeader: InternetChecksum
    ) {
        target.put8(type, at: message + ICMPHeader.Field.type)
        target.put8(code, at: message + ICMPHeader.Field.code)
        target.put16(0, at: message + ICMPHeader.Field.checksum)
        target.put32(UInt32(truncatingIfNeeded: mtu), at: message + ICMPHeader.Field.rest)
        target.put(frame.extracting(network..<network + quoted), at: message + ICMPHeader.length)
        var sum = pseudoHeader
        sum.add(target.bytes.extracting(message..<message + ICMPHeader.length + quoted))
        target.put16(sum.finished, at: message + ICMPHeader.Field.checksum)
    }
}
