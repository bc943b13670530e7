// SPDX-License-Identifier: Apache-2.0
import Wire

/// Ports of the host that are forwarded to ports of a guest: `[BIND:]PORT[-END]:GUEST[:PORT][/udp]`.
///
///     8080:192.168.105.2              the guest's port 8080
///     127.0.0.1:2222:192.168.105.2:22 the guest's port 22, for this host only
///     6000-6010:192.168.105.2:7000/udp
///     2222:52:54:00:00:00:01:22       the port 22 of the guest with this hardware address, whatever its lease is
///     2222:web:22                     the same of the guest that holds this name with its lease
package struct PublishedPort: Hashable, Sendable {
    /// Transport protocols, by their names in command lines and rules.
    package enum Transport: String, Sendable {
        case tcp, udp
    }

    /// Of both sides.
    package let transport: Transport
    /// The host's address to bind; `any` for all addresses.
    package let bind: IPv4Address
    /// The host's ports.
    package let ports: ClosedRange<UInt16>
    /// The guest whose lease decides the address `guest`; nil if that was given.
    package let followed: FollowedGuest?
    /// The guest's address; `any` while the guest has no lease.
    package private(set) var guest: IPv4Address
    /// The guest's port behind the first of `ports`; the others follow in order.
    package let guestPort: UInt16

    /// - Returns: nil if the ports of the guest would go beyond 65,535, or one is 0.
    package init?(
        _ transport: Transport, bind: IPv4Address = .any, ports: ClosedRange<UInt16>, guest: IPv4Address,
        followed: FollowedGuest? = nil, guestPort: UInt16
    ) {
        guard ports.lowerBound > 0, guestPort > 0, Int(guestPort) + ports.count - 1 <= 65_535 else { return nil }
        self.transport = transport
        self.bind = bind
        self.ports = ports
        self.guest = guest
        self.followed = followed
        self.guestPort = guestPort
    }

    /// Whether the guest's address is known.
    package var hasGuestAddress: Bool { guest != .any }

    /// Sets the address of the guest that is followed; `any` while it has no lease.
    package mutating func setGuest(_ address: IPv4Address) { guest = address }

    /// The guest's ports, as many as the host's.
    package var guestPorts: ClosedRange<UInt16> { guestPort...(guestPort + (ports.upperBound - ports.lowerBound)) }

    /// Whether both need the same port of the host.
    package func overlaps(_ other: PublishedPort) -> Bool {
        transport == other.transport && ports.overlaps(other.ports)
            && (bind == other.bind || bind == .any || other.bind == .any)
    }
}

extension PublishedPort {
    /// Why a text is no published port; a sentence that begins with the text in quotes.
    package struct Refusal: Error, Equatable, Sendable, CustomStringConvertible {
        package let description: String
    }

    /// Parses the form above. `/tcp` may be given; addresses are dotted quads.
    package init(parsing text: String) throws(Refusal) {
        func refuse(_ reason: String) -> Refusal { Refusal(description: "'\(text)' \(reason)") }
        if let start = text.firstIndex(of: "["), text[start...].prefix(while: { $0 != "]" }).contains(":") {
            throw refuse("has an IPv6 address; ports are published by IPv4 and for guests' IPv4 addresses only")
        }
        let halves = text.split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count <= 2, let transport = halves.count == 2 ? Transport(rawValue: String(halves[1])) : .tcp
        else {
            throw refuse("may end in /tcp or /udp only")
        }
        var parts = halves[0].split(separator: ":", omittingEmptySubsequences: false)
        let hardware = PublishedPort.takeHardware(from: &parts)
        if let hardware, hardware.isGroup {
            throw refuse("has \(hardware), which is no single guest's hardware address")
        }
        var followed = hardware.map { FollowedGuest.hardware($0) }
        guard (2...4).contains(parts.count) else { throw refuse("is not [BIND:]PORT[-END]:GUEST[:PORT][/udp]") }
        var bind = IPv4Address.any
        if parts.count == 4 || parts[0].contains(".") {
            guard let address = IPv4Address(parts[0]), !address.isMulticastOrBroadcast else {
                throw refuse("begins with '\(parts[0])', which is not an address of this host")
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
        guard let guest = followed == nil ? IPv4Address(parts[1]) : .any,
            followed != nil || (guest != .any && !guest.isLoopback && !guest.isMulticastOrBroadcast)
        else {
            throw refuse(
                "has '\(parts[1])' where a guest belongs: an address such as 192.168.105.2, "
                    + "a hardware address such as 52:54:00:00:00:01, or a name such as web "
                    + "(letters, digits and hyphens, 63 at most, one letter at least)")
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

    /// Replaces the six parts of a guest's hardware address, if there is one, by one part, and returns the address.
    private static func takeHardware(from parts: inout [Substring]) -> MACAddress? {
        // A hardware address contains five colons. It follows the port, which follows an address to bind.
        let index = parts.first?.contains(".") == true ? 2 : 1
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
        return (bind == .any ? "" : "\(bind):")
            + "\(range):\(followed.map(\.description) ?? guest.description):\(guestPort)/\(transport.rawValue)"
    }
}

extension GuestNetwork {
    /// Why the port cannot be forwarded to a guest of this network; nil if it can.
    package func refusal(of published: PublishedPort) -> String? {
        published.followed == nil ? refusal(ofGuest: published.guest) : nil
    }
}
