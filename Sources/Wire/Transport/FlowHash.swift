// SPDX-License-Identifier: Apache-2.0

/// A number for the flow of a frame, for a device that divides flows among its queues (virtio 1.2 section 5.1.6.5.6.1).
package enum FlowHash {
    /// How many different numbers there are.
    package static let count = 256

    /// The number of a frame's flow, from 0 to 255: its addresses, and its ports if it has a whole TCP or UDP header.
    /// The same for both directions. 0 for a frame that is no IP packet, or too short.
    package static func symmetric(_ frame: RawSpan) -> Int {
        guard frame.byteCount >= EthernetHeader.length else { return 0 }
        let link = LinkHeader(frame)
        let start = link.length
        var hash: UInt32
        let proto: UInt8, transport: Int
        switch link.type {
        case EtherType.ipv4:
            guard frame.byteCount >= start + IPv4Header.length else { return 0 }
            hash =
                frame.native32(at: start + IPv4Header.Field.source)
                ^ frame.native32(at: start + IPv4Header.Field.destination)
            let isFragment =
                frame.big16(at: start + IPv4Header.Field.fragment) & IPv4Header.Fragment.isFragmentMask != 0
            proto = isFragment ? 0 : frame.byte(at: start + IPv4Header.Field.protocolNumber)
            transport =
                start
                + IPv4Header.length(versionAndLength: frame.byte(at: start + IPv4Header.Field.versionAndLength))
        case EtherType.ipv6:
            guard frame.byteCount >= start + IPv6Header.length else { return 0 }
            hash = 0
            for offset in stride(
                from: IPv6Header.Field.addresses.lowerBound, to: IPv6Header.Field.addresses.upperBound, by: 4)
            {
                hash ^= frame.native32(at: start + offset)
            }
            proto = frame.byte(at: start + IPv6Header.Field.nextHeader)
            transport = start + IPv6Header.length
        default: return 0
        }
        if proto == IPProtocol.tcp || proto == IPProtocol.udp, frame.byteCount >= transport + UDPHeader.length {
            hash ^= UInt32(
                frame.big16(at: transport + UDPHeader.Field.sourcePort)
                    ^ frame.big16(at: transport + UDPHeader.Field.destinationPort))
        }
        // Multiplicative hashing: the high bits depend on all others.
        return Int((hash &* 0x9e37_79b1) >> 24)
    }
}
