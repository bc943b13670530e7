// SPDX-License-Identifier: Apache-2.0
import Wire

/// Ports of the host that are forwarded to ports of a guest: `[BIND:]PORT[-END]:GUEST[:PORT][/udp]`.
///
///     8080:192.168.105.2              the guest's port 8080
///     127.0.0.1:2222:192.168.105.2:22 the guest's port 22, for this host only
///     6000-6010:192.168.105.2:7000/udp
///     2222:52:54:00:00:00:01:22       the port 22 of the guest with this hardware address, whatever its lease is
///     2222:web:22                     the same of the guest that holds this name with its lease
///     [2001:db8::1]:80:[::10]:80      of an IPv6 guest, here without the network's prefix
///
/// Both sides have the same version of IP.
package struct PublishedPort: Hashable, Sendable {
    /// Transport protocols, by their names in command lines and rules.
    package enum Transport: String, Sendable {
        case tcp, udp
    }

    /// Of both sides.
    package let transport: Transport
    /// The host's address to bind; unspecified for all addresses of that version.
    package let bind: IPAddress
    /// The host's ports.
    package let ports: ClosedRange<UInt16>
    /// The guest whose lease decides the address `guest`; nil if that was given.
    package let followed: FollowedGuest?
    /// The guest's address; unspecified while the guest has no lease. An IPv6 address that begins with 64 zeros is
    /// completed by the network's prefix.
    package private(set) var guest: IPAddress
    /// The guest's port for the first of `ports`; the others follow in order.
    package let guestPort: UInt16

    /// - Parameter bind: nil for all addresses of the guest's version of IP.
    /// - Returns: nil if the ports of the guest would go beyond 65,535, one is 0, or the versions of IP differ.
    package init?(
        _ transport: Transport, bind: IPAddress? = nil, ports: ClosedRange<UInt16>, guest: IPAddress,
        followed: FollowedGuest? = nil, guestPort: UInt16
    ) {
        let bind = bind ?? .unspecified(isIPv6: guest.isIPv6)
        guard ports.lowerBound > 0, guestPort > 0, Int(guestPort) + ports.count - 1 <= 65_535,
            bind.isIPv6 == guest.isIPv6
        else { return nil }
        self.transport = transport
        self.bind = bind
        self.ports = ports
        self.guest = guest
        self.followed = followed
        self.guestPort = guestPort
    }

    /// Whether the guest's address is known.
    package var hasGuestAddress: Bool { !guest.isUnspecified }

    /// Whether both sides have IPv6.
    package var isIPv6: Bool { bind.isIPv6 }

    /// Sets the address of the guest that is followed; `any` while it has no lease.
    package mutating func setGuest(_ address: IPv4Address) { guest = .ipv4(address) }

    /// The guest's ports, as many as the host's.
    package var guestPorts: ClosedRange<UInt16> { guestPort...(guestPort + (ports.upperBound - ports.lowerBound)) }

    /// Whether both need the same port of the host.
    package func overlaps(_ other: PublishedPort) -> Bool {
        transport == other.transport && ports.overlaps(other.ports) && isIPv6 == other.isIPv6
            && (bind == other.bind || bind.isUnspecified || other.bind.isUnspecified)
    }

    /// The same with the guest's whole IPv6 address.
    package func completed(by network: IPv6Network?) -> PublishedPort {
        guard case .ipv6(let address) = guest, address.high == 0, let network else { return self }
        var whole = self
        whole.guest = .ipv6(IPv6Address(network.base.high, address.low))
        return whole
    }
}

extension PublishedPort {
    /// Why a text is no published port; a sentence that begins with the text in quotes.
    package struct Refusal: Error, Equatable, Sendable, CustomStringConvertible {
        package let description: String
    }

    /// Parses the form above. `/tcp` may be given; IPv6 addresses are in brackets.
    package init(parsing text: String) throws(Refusal) {
        func refuse(_ reason: String) -> Refusal { Refusal(description: "'\(text)' \(reason)") }
        let halves = text.split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count <= 2, let transport = halves.count == 2 ? Transport(rawValue: String(halves[1])) : .tcp
        else {
            throw refuse("may end in /tcp or /udp only")
        }
        var parts = PublishedPort.parts(of: halves[0])
        let hardware = PublishedPort.takeHardware(from: &parts)
        if let hardware, hardware.isGroup {
            throw refuse("has \(hardware), which is no single guest's hardware address")
        }
        var followed = hardware.map { FollowedGuest.hardware($0) }
        if parts.count > 3, !PublishedPort.isAddress(parts[0]), parts.contains("") {
            throw refuse("has an IPv6 address without brackets; write [ADDRESS]")
        }
        guard (2...4).contains(parts.count) else {
            throw refuse("is not [BIND:]PORT[-END]:GUEST[:PORT][/udp], such as 2222:192.168.105.2:22")
        }
        if let part = parts.first(where: { MappedAddress($0) != nil }), let mapped = MappedAddress(part) {
            throw refuse("has \(part), which \(mapped.refusal())")
        }
        var bind: IPAddress?
        if parts.count == 4 || PublishedPort.isAddress(parts[0]) {
            guard let address = IPAddress(bracketed: parts[0]), address.canBeBound else {
                throw refuse("begins with '\(parts[0])', which is not an address of this host that clients can reach")
            }
            bind = address
            parts.removeFirst()
        }
        guard (2...3).contains(parts.count) else { throw refuse("lacks the guest's address") }
        guard let ports = PublishedPort.ports(parts[0]) else {
            throw refuse("has '\(parts[0])' where a port from 1 to 65535, or a range of them, belongs")
        }
        if followed == nil, GuestName.isReserved(parts[1]) {
            throw refuse("has '\(parts[1])' where a guest belongs, a name that no guest can have here")
        }
        if followed == nil, let name = GuestName(parts[1]) { followed = .name(name) }
        guard let guest = followed == nil ? IPAddress(bracketed: parts[1]) : .ipv4(.any),
            followed != nil || guest.canBeGuest
        else {
            throw refuse(
                "has '\(parts[1])' where a guest belongs: an address such as 192.168.105.2 or [fd12:3456:789a::2], "
                    + "a hardware address such as 52:54:00:00:00:01, or a name such as web "
                    + "(letters, digits and hyphens, 63 at most, one letter at least)")
        }
        if let bind, bind.isIPv6 != guest.isIPv6 {
            throw refuse(
                followed == nil
                    ? "has addresses of IPv4 and IPv6, between which nothing translates; give two of the same version"
                    : "leads from an IPv6 address to the lease of a guest, which is of IPv4; give the guest's IPv6 "
                        + "address, which --dhcp-host can fix")
        }
        var guestPort = ports.lowerBound
        if parts.count == 3 {
            guard let port = PublishedPort.port(parts[2]) else {
                throw refuse("has '\(parts[2])' where the guest's port belongs")
            }
            guestPort = port
        }
        guard
            let published = PublishedPort(
                transport, bind: bind, ports: ports, guest: guest, followed: followed, guestPort: guestPort)
        else {
            throw refuse("goes beyond the guest's port 65535")
        }
        self = published
    }

    /// The parts between colons; those within brackets separate nothing.
    private static func parts(of text: Substring) -> [Substring] {
        var parts: [Substring] = [], isInside = false
        var start = text.startIndex
        for index in text.indices {
            switch text[index] {
            case "[": isInside = true
            case "]": isInside = false
            case ":" where !isInside:
                parts.append(text[start..<index])
                start = text.index(after: index)
            default: break
            }
        }
        return parts + [text[start...]]
    }

    /// Whether a part can only be an address, neither a port nor a name.
    private static func isAddress(_ part: Substring) -> Bool { part.contains(".") || part.hasPrefix("[") }

    /// Replaces the six parts of a guest's hardware address, if there is one, by one part, and returns the address.
    private static func takeHardware(from parts: inout [Substring]) -> MACAddress? {
        // A hardware address contains five colons. It follows the port, which follows an address to bind.
        let index = parts.first.map(isAddress) == true ? 2 : 1
        guard parts.count >= index + 6, let address = MACAddress(parts[index..<index + 6].joined(separator: ":"))
        else { return nil }
        parts.replaceSubrange(index..<index + 6, with: ["guest"])
        return address
    }

    /// A port or a range of ports.
    private static func ports(_ text: Substring) -> ClosedRange<UInt16>? {
        let bounds = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false).map(port)
        guard let first = bounds[0], let last = bounds[bounds.count - 1], first <= last else { return nil }
        return first...last
    }

    /// Digits only: no sign, no white space.
    private static func port(_ text: Substring) -> UInt16? {
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let port = UInt16(text),
            port > 0
        else { return nil }
        return port
    }
}

extension PublishedPort: CustomStringConvertible {
    /// In the form that is parsed, in full.
    package var description: String {
        let range = ports.count == 1 ? "\(ports.lowerBound)" : "\(ports.lowerBound)-\(ports.upperBound)"
        return (bind.isUnspecified ? "" : "\(bind.hostText):")
            + "\(range):\(followed.map(\.description) ?? guest.hostText):\(guestPort)/\(transport.rawValue)"
    }
}

extension IPAddress {
    /// Parses `192.0.2.1` or `[2001:db8::1]`.
    fileprivate init?(bracketed text: Substring) {
        if text.hasPrefix("["), text.hasSuffix("]"), let address = IPv6Address(text.dropFirst().dropLast()) {
            self = .ipv6(address)
        } else if let address = IPv4Address(text) {
            self = .ipv4(address)
        } else {
            return nil
        }
    }

    /// Not those of groups, and no address of a link, which is one with an interface only.
    fileprivate var canBeBound: Bool {
        switch self {
        case .ipv4(let address): !address.isMulticastOrBroadcast
        case .ipv6(let address): !address.isMulticast && !address.isLinkLocal && address.mappedIPv4 == nil
        }
    }

    fileprivate var canBeGuest: Bool {
        switch self {
        case .ipv4(let address): address != .any && !address.isLoopback && !address.isMulticastOrBroadcast
        case .ipv6(let address):
            address != .unspecified && !address.isLoopback && !address.isMulticast && !address.isLinkLocal
                && address.mappedIPv4 == nil
        }
    }
}

extension GuestNetwork {
    /// Why the port cannot be forwarded to a guest of this network; nil if it can, as far as IPv4 is concerned.
    package func refusal(of published: PublishedPort) -> String? {
        guard published.followed == nil, case .ipv4(let guest) = published.guest else { return nil }
        return refusal(ofGuest: guest)
    }
}

extension PublishedPort {
    /// Why the port cannot be forwarded to an IPv6 guest of a network; nil if it can, or is of IPv4.
    /// - Parameter network: nil if guests have no IPv6.
    package func refusal(in network: IPv6Network?) -> String? {
        guard case .ipv6(let guest) = completed(by: network).guest else { return nil }
        guard let network else { return "guests of this network have no IPv6" }
        guard network.contains(guest) else { return "\(guest) is not in \(network); write [::10] for a guest in it" }
        return guest.low <= 1 ? "\(guest) is the gateway's, which is this host" : nil
    }
}
