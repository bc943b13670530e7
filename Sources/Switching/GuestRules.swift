// SPDX-License-Identifier: Apache-2.0
import Wire

/// What guests may not do on a network that we lead: use addresses of the gateway or of other guests (RFC 7039), or
/// serve as routers and DHCP servers do (RFC 6105, RFC 7610).
package struct GuestRules: Equatable, Sendable {
    package enum Reach: BitwiseCopyable, Sendable {
        /// No rules: the network is another's, or none.
        case nothing
        /// The switch is another's: what breaks the rules is kept from the uplink, and reaches the other guests.
        case uplink
        /// The switch is ours: what breaks the rules is dropped.
        case everywhere
    }

    /// Seconds after which a guest that does not answer for an IPv6 address loses it to another that claims it.
    package static let addressSilence: UInt32 = 30

    package var reach: Reach
    /// Whether guests may not answer DHCP.
    package var stopsDHCP = true
    /// `any` where it is not known.
    package var gateway: IPv4Address = .any
    /// `zero` where it is not known.
    package var gatewayHardware: MACAddress = .zero
    /// As far as they are known from the start; others are learned from the uplink.
    package var gatewayIPv6: [IPv6Address] = []
    /// Guests that may serve, besides the ports that may.
    package var servers: [MACAddress] = []
    /// Whether some port may serve (`PortConfiguration.mayServe`).
    package var hasServingPorts = false

    package init(_ reach: Reach) { self.reach = reach }

    var hasServers: Bool { hasServingPorts || !servers.isEmpty }
}

/// What a guest has done against the rules.
package enum GuestOffence: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    case dhcp, dhcpIPv6, routerAdvertisement, redirect
    /// It sent from an address of the gateway's, or answered for one.
    case gateway
    /// The same with an IPv6 address that another guest uses.
    case address
    /// ARP or neighbour discovery that names the hardware address of another.
    case neighbor
    /// Headers that are not in one piece, behind which the others could be.
    case hiddenHeader
    /// More VLAN tags than are read.
    case tooManyTags

    /// Whether `--allow-server` makes it lawful.
    package var isServing: Bool {
        switch self {
        case .dhcp, .dhcpIPv6, .routerAdvertisement, .redirect: true
        case .gateway, .address, .neighbor, .hiddenHeader, .tooManyTags: false
        }
    }

    /// What an IPv4 packet of a guest does, its source aside: messages to DHCP clients, from whatever port they come,
    /// for clients do not look at that; redirects and router advertisements (RFC 792, RFC 1256).
    /// - Parameters:
    ///   - frame: has at least 20 bytes from `start` on.
    ///   - start: where the packet begins.
    init?(ipv4 frame: RawSpan, at start: Int) {
        let number = frame.byte(at: start &+ 9)
        guard number == IPProtocol.udp || number == IPProtocol.icmp else { return nil }
        let headerLength = Int(frame.byte(at: start) & 0xf) &* 4
        // The header is in the first fragment, and only there.
        guard frame.big16(at: start &+ 6) & 0x1fff == 0 else { return nil }
        let place = start &+ headerLength
        // Bytes behind the packet are padding, and not what its receiver reads.
        let rest = min(frame.byteCount &- start, Int(frame.big16(at: start &+ 2))) &- headerLength
        guard headerLength >= IPv4Header.length, rest >= (number == IPProtocol.udp ? UDPView.headerLength : 8) else {
            self = .hiddenHeader
            return
        }
        if number == IPProtocol.udp {
            guard frame.big16(at: place &+ 2) == DHCPPort.client else { return nil }
            self = .dhcp
        } else {
            switch frame.byte(at: place) {
            case 5: self = .redirect
            case 9: self = .routerAdvertisement
            default: return nil
            }
        }
    }

    /// The same of an IPv6 packet, its source aside.
    /// - Parameters:
    ///   - bytes: at least an IPv6 header, from there to the end of the frame.
    ///   - hardware: the source of the frame.
    ///   - neighbor: set to what it says by neighbour discovery.
    init?(ipv6 bytes: RawSpan, from hardware: MACAddress, neighbor: inout NeighborMessage?) {
        let packet = bytes.extracting(0..<IPv6UpperLayer.end(of: bytes))
        switch IPv6UpperLayer(packet) {
        case .laterFragment:
            return nil
        case .undetermined:
            self = .hiddenHeader
        case .header(IPProtocol.udp, let place):
            guard packet.byteCount - place >= UDPView.headerLength else {
                self = .hiddenHeader
                return
            }
            guard packet.big16(at: place + 2) == DHCPPort.clientIPv6 else { return nil }
            self = .dhcpIPv6
        case .header(IPProtocol.icmpv6, let place):
            guard packet.byteCount - place >= 4 else {
                self = .hiddenHeader
                return
            }
            switch packet.byte(at: place) {
            case NeighborDiscovery.routerAdvertisement: self = .routerAdvertisement
            case NeighborDiscovery.redirect: self = .redirect
            case NeighborDiscovery.routerSolicitation, NeighborDiscovery.neighborSolicitation,
                NeighborDiscovery.neighborAdvertisement:
                neighbor = NeighborMessage(packet.from(place), from: IPv6Address(packet, at: 8), at: hardware)
                guard neighbor == nil else { return nil }
                self = .hiddenHeader
            default: return nil
            }
        case .header:
            return nil
        }
    }
}
