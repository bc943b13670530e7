// SPDX-License-Identifier: Apache-2.0
import Wire

/// What a frame leaves to be done that came without a virtio header from a VMM whose guest was offered checksum and TCP
/// segmentation offload (libkrun's NET_FEATURE_CSUM, TSO4 and TSO6; krunkit's `offloading=on`). Nothing on the wire
/// reports it, so that it is inferred from the headers:
///
/// * A checksum of TCP or UDP is unfinished if its field holds the sum of the pseudo-header (virtio 1.2 section
///   5.1.6.2). A complete checksum has that value once in 65,536 frames. To finish it again is harmless then: the sum
///   over the packet leads to the same value.
/// * A TCP packet that is longer than the MTU is a GSO frame. Its segments have the MTU's length.
package enum InferredOffload: Equatable, BitwiseCopyable, Sendable {
    /// Nothing is left to be done.
    case plain
    /// - Parameters:
    ///   - header: with offsets inside the frame.
    ///   - length: of the frame without padding, to whose end the checksum runs.
    ///   - pseudoHeaderSum: what the checksum's field must hold.
    case partial(header: VirtioNetHeader, length: Int, pseudoHeaderSum: UInt16)
    /// A TCP packet that is longer than the MTU, which no segmentation can have left like that.
    case malformed

    /// - Parameter mtu: bytes of the IP packets that the guest's segments are to have.
    package init(_ frame: RawSpan, mtu: Int) {
        self = .plain
        guard let position = TransportPosition(frame) else { return }
        let length = position.end - position.transport
        let field: Int
        switch position.protocolNumber {
        case IPProtocol.tcp where length >= TCPHeader.length: field = TCPHeader.Field.checksum
        case IPProtocol.udp where length >= UDPHeader.length: field = UDPHeader.Field.checksum
        default: return
        }
        let isLong = position.end - position.network > mtu
        var header = VirtioNetHeader()
        header.checksumStart = UInt16(position.transport)
        header.checksumOffset = UInt16(field)
        let stored = frame.big16(at: position.transport + field)
        let sum = position.pseudoHeaderSum(of: frame, length: length)
        if isLong && position.protocolNumber == IPProtocol.tcp {
            guard header.setSegmentation(of: frame, position, mtu: mtu) else {
                self = .malformed
                return
            }
            // Some drivers leave the length out of the sum of a GSO frame.
            if stored == sum || stored == position.pseudoHeaderSum(of: frame, length: 0) {
                header.flags = .needsChecksum
            } else {
                (header.checksumStart, header.checksumOffset) = (0, 0)
            }
            self = .partial(header: header, length: position.end, pseudoHeaderSum: sum)
        } else if stored == sum {
            header.flags = .needsChecksum
            self = .partial(header: header, length: position.end, pseudoHeaderSum: sum)
        }
    }
}

extension TransportPosition {
    /// The folded sum over the pseudo-header.
    fileprivate func pseudoHeaderSum(of frame: RawSpan, length: Int) -> UInt16 {
        InternetChecksum.pseudoHeader(
            of: frame, at: network, isIPv6: isIPv6, protocolNumber: protocolNumber, length: length
        ).folded
    }
}

extension VirtioNetHeader {
    /// Describes the segmentation of a long TCP packet. Returns false for one that no guest leaves to be segmented: its
    /// header is malformed, or a field counts from the start of the segment (URG) or belongs to one byte (SYN).
    fileprivate mutating func setSegmentation(of frame: RawSpan, _ position: TransportPosition, mtu: Int) -> Bool {
        guard let segment = try? TCPView(frame.extracting(position.transport..<position.end)) else { return false }
        let headers = position.transport + segment.headerLength
        let flags = TCPFlags(rawValue: frame.byte(at: position.transport + TCPHeader.Field.flags))
        guard headers < position.end, headers <= Segmenter.maximumHeaderLength, mtu > headers - position.network,
            flags.isDisjoint(with: [.syn, .rst, .urg])
        else { return false }
        segmentation = position.isIPv6 ? .tcp6 : .tcp4
        segmentSize = UInt16(min(mtu, IPv4Header.maximumPacket) - (headers - position.network))
        headerLength = UInt16(headers)
        hasECN = flags.contains(.cwr)
        return true
    }
}

extension FrameBatch {
    /// Infers the offload of the frames that came without a virtio header. Malformed ones become empty.
    /// - Parameter mtu: bytes of the IP packets that the guest's segments are to have.
    /// - Returns: how many frames were malformed.
    package mutating func inferOffload(mtu: Int) -> Int {
        var malformed = 0
        for index in 0..<count where self[index].offload.isPlain && self[index].length > 0 {
            switch InferredOffload(bytes(of: self[index]), mtu: mtu) {
            case .plain: continue
            case .malformed:
                malformed += 1
                self[index].length = 0
            case .partial(let header, let length, let sum):
                self[index].offload = header
                self[index].length = UInt32(length)
                guard header.flags.contains(.needsChecksum), header.segmentation != .none else { continue }
                var bytes = mutableBytes(of: self[index])
                bytes.put16(sum, at: Int(header.checksumStart) + Int(header.checksumOffset))
            }
        }
        return malformed
    }
}
