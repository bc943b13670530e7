// SPDX-License-Identifier: Apache-2.0
import Wire

/// A message that reports to a sender that its packet was too long for the link to the receiver: ICMP "fragmentation
/// needed" with the MTU (RFC 792, RFC 1191 section 4), ICMPv6 "packet too big" (RFC 4443 section 3.2). Its source is
/// the packet's destination, because the switch has no address there; the sender checks only that the quoted packet was
/// its own.
package struct OversizeNotice: BitwiseCopyable, Sendable {
    /// As much of the packet is quoted as fits the longest packet that every host must accept: 576 bytes (RFC 1812
    /// section 4.3.2.3), 1280 (RFC 4443).
    package static let maximumLength = 22 + 1280

    private let network: Int
    private let isIPv6: Bool
    private let quoted: Int
    private let mtu: Int

    /// - Parameter mtu: bytes of the longest packet that fits.
    ///
    /// Returns nil if no such message may be sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4): about group
    /// addresses, error messages, fragments other than the first, and other protocols than IP.
    package init?(for frame: RawSpan, mtu: Int) {
        guard let (type, network) = LinkHeader.network(of: frame), frame.byte(at: 0) & 1 == 0,
            frame.byte(at: 6) & 1 == 0
        else { return nil }
        let length: Int
        switch type {
        case EtherType.ipv4:
            guard let packet = try? IPv4View(frame.from(network)), packet.hasValidChecksum, mtu >= 68,
                packet.bytes.byteCount > mtu
            else { return nil }
            guard OversizeNotice.isHost(packet.source), OversizeNotice.isHost(packet.destination),
                packet.fragmentOffset == 0
            else { return nil }
            if packet.protocolNumber == IPProtocol.icmp {
                // Answers to echo, and questions; everything else may be an error.
                guard let kind = packet.payload.byteCount > 0 ? packet.payload.byte(at: 0) : nil,
                    [0, 8, 13, 14].contains(kind)
                else { return nil }
            }
            isIPv6 = false
            length = packet.bytes.byteCount
            quoted = min(length, 576 - 28)
        case EtherType.ipv6:
            guard let packet = try? IPv6View(frame.from(network)), mtu >= 1280, packet.bytes.byteCount > mtu else {
                return nil
            }
            guard packet.bytes.byte(at: 8) != 0xff, packet.bytes.byte(at: 24) != 0xff, packet.bytes.big64(at: 8) != 0
            else { return nil }
            if packet.nextHeader == IPProtocol.icmpv6 {
                guard packet.payload.byteCount > 0, packet.payload.byte(at: 0) >= 128 else { return nil }
            }
            isIPv6 = true
            length = packet.bytes.byteCount
            quoted = min(length, 1280 - 48)
        default:
            return nil
        }
        self.network = network
        self.mtu = mtu
    }

    private static func isHost(_ address: IPv4Address) -> Bool { address.value != 0 && address.value < 0xe000_0000 }

    /// Bytes of the frame that `emit` writes.
    package var length: Int { network + (isIPv6 ? 48 : 28) + quoted }

    /// Writes the frame to the start of `target`. `frame` is the one that this was made for.
    @_lifetime(target: copy target)
    package func emit(for frame: RawSpan, into target: inout MutableRawSpan) {
        target.put(frame.extracting(6..<12), at: 0)
        target.put(frame.extracting(0..<6), at: 6)
        target.put(frame.extracting(12..<network), at: 12)
        if isIPv6 { emit6(frame, &target) } else { emit4(frame, &target) }
    }

    @_lifetime(target: copy target)
    private func emit4(_ frame: RawSpan, _ target: inout MutableRawSpan) {
        let message = network + 20
        target.put16(0x4500, at: network)
        target.put16(UInt16(truncatingIfNeeded: 28 + quoted), at: network + 2)
        target.put32(0, at: network + 4)
        target.put16(0x4001, at: network + 8)  // 64 hops, ICMP
        target.put16(0, at: network + 10)
        target.put(frame.extracting(network + 16..<network + 20), at: network + 12)
        target.put(frame.extracting(network + 12..<network + 16), at: network + 16)
        var sum = InternetChecksum()
        sum.add(target.bytes.extracting(network..<message))
        target.put16(sum.finished, at: network + 10)

        target.put32(0x0304_0000, at: message)
        target.put32(UInt32(truncatingIfNeeded: min(mtu, 0xffff)), at: message + 4)
        target.put(frame.extracting(network..<network + quoted), at: message + 8)
        var messageSum = InternetChecksum()
        messageSum.add(target.bytes.extracting(message..<message + 8 + quoted))
        target.put16(messageSum.finished, at: message + 2)
    }

    @_lifetime(target: copy target)
    private func emit6(_ frame: RawSpan, _ target: inout MutableRawSpan) {
        let message = network + 40
        target.put32(0x6000_0000, at: network)
        target.put16(UInt16(truncatingIfNeeded: 8 + quoted), at: network + 4)
        target.put16(UInt16(IPProtocol.icmpv6) << 8 | 64, at: network + 6)
        target.put(frame.extracting(network + 24..<network + 40), at: network + 8)
        target.put(frame.extracting(network + 8..<network + 24), at: network + 24)

        target.put32(0x0200_0000, at: message)
        target.put32(UInt32(truncatingIfNeeded: mtu), at: message + 4)
        target.put(frame.extracting(network..<network + quoted), at: message + 8)
        var sum = InternetChecksum.pseudoHeader(
            addresses: target.bytes.extracting(network + 8..<network + 40), protocolNumber: IPProtocol.icmpv6,
            length: 8 + quoted)
        sum.add(target.bytes.extracting(message..<message + 8 + quoted))
        target.put16(sum.finished, at: message + 2)
    }
}
