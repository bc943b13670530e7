// SPDX-License-Identifier: Apache-2.0
import Wire

/// What a guest has done against the rules (`GuestRules`).
package enum GuestOffence: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    case dhcp, dhcpIPv6, routerAdvertisement, redirect
    /// It sent from an address of the gateway, or answered for one.
    case gateway
    /// The same with an IPv6 address that another guest uses.
    case address
    /// ARP or neighbour discovery that names the hardware address of another.
    case neighbor
    /// Headers that are not in one piece, so that any of the above could be after them.
    case hiddenHeader
    /// More VLAN tags than are read.
    case tooManyTags
    /// More addresses than a guest may use at a time.
    case tooManyAddresses

    /// Whether `--allow-server` permits it.
    package var isServing: Bool {
        switch self {
        case .dhcp, .dhcpIPv6, .routerAdvertisement, .redirect: true
        case .gateway, .address, .neighbor, .hiddenHeader, .tooManyTags, .tooManyAddresses: false
        }
    }

    /// The offence of an IPv4 packet of a guest, its source aside: messages to DHCP clients, from any port, because
    /// clients do not check that; redirects and router advertisements (RFC 792, RFC 1256).
    /// - Parameters:
    ///   - frame: has at least an IPv4 header from `start` on.
    ///   - start: where the packet begins.
    init?(ipv4 frame: RawSpan, at start: Int) {
        let number = frame.byte(at: start &+ IPv4Header.Field.protocolNumber)
        guard number == IPProtocol.udp || number == IPProtocol.icmp else { return nil }
        let headerLength = IPv4Header.length(
            versionAndLength: frame.byte(at: start &+ IPv4Header.Field.versionAndLength))
        // Only the first fragment has the header.
        guard frame.big16(at: start &+ IPv4Header.Field.fragment) & IPv4Header.Fragment.offsetMask == 0 else {
            return nil
        }
        let offset = start &+ headerLength
        // Bytes after the packet are padding, which its receiver does not read.
        let totalLength = Int(frame.big16(at: start &+ IPv4Header.Field.totalLength))
        let rest = min(frame.byteCount &- start, totalLength) &- headerLength
        guard headerLength >= IPv4Header.length,
            rest >= (number == IPProtocol.udp ? UDPHeader.length : ICMPHeader.length)
        else {
            self = .hiddenHeader
            return
        }
        if number == IPProtocol.udp {
            guard frame.big16(at: offset &+ UDPHeader.Field.destinationPort) == DHCPPort.client else { return nil }
            self = .dhcp
        } else {
            switch frame.byte(at: offset &+ ICMPHeader.Field.type) {
            case ICMPType.redirect: self = .redirect
            case ICMPType.routerAdvertisement: self = .routerAdvertisement
            default: return nil
            }
        }
    }

    /// The offence of an IPv6 packet of a guest, its source aside.
    /// - Parameters:
    ///   - bytes: at least an IPv6 header, from there to the end of the frame.
    ///   - hardware: the source of the frame.
    ///   - neighbor: set to the neighbour discovery message in it, if it has one.
    init?(ipv6 bytes: RawSpan, from hardware: MACAddress, neighbor: inout NeighborMessage?) {
        let packet = bytes.extracting(0..<IPv6UpperLayer.end(of: bytes))
        switch IPv6UpperLayer(packet) {
        case .laterFragment:
            return nil
        case .undetermined:
            self = .hiddenHeader
        case .header(IPProtocol.udp, let offset):
            guard packet.byteCount - offset >= UDPHeader.length else {
                self = .hiddenHeader
                return
            }
            guard packet.big16(at: offset + UDPHeader.Field.destinationPort) == DHCPPort.clientIPv6 else { return nil }
            self = .dhcpIPv6
        case .header(IPProtocol.icmpv6, let offset):
            guard packet.byteCount - offset >= ICMPHeader.commonLength else {
                self = .hiddenHeader
                return
            }
            switch packet.byte(at: offset + ICMPHeader.Field.type) {
            case ICMPv6Type.routerAdvertisement: self = .routerAdvertisement
            case ICMPv6Type.redirect: self = .redirect
            case ICMPv6Type.routerSolicitation, ICMPv6Type.neighborSolicitation,
                ICMPv6Type.neighborAdvertisement:
                neighbor = NeighborMessage(
                    packet.from(offset), from: IPv6Address(packet, at: IPv6Header.Field.source), at: hardware)
                guard neighbor == nil else { return nil }
                self = .hiddenHeader
            default: return nil
            }
        case .header:
            return nil
        }
    }
}
