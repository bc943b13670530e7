// SPDX-License-Identifier: Apache-2.0
import Wire

/// What the egress policy has refused to a guest: a name, an answer, a packet or a connection.
package struct EgressRefusal: Hashable, Sendable {
    /// The guest's; nil if it is unknown.
    package var hardware: MACAddress?
    /// The name that the guest has queried, or that has led it to the address; nil if none is known.
    package var name: String?
    /// The destination, or the address to which the name leads and must not; nil if the name itself is not allowed.
    package var address: IPAddress?
    /// `dns`, `tcp`, `udp`, `icmp`, or the number of another protocol.
    package var transport: String
    /// Of TCP and UDP.
    package var port: UInt16?

    /// Why, if the policy allows the address.
    package var reason: String?

    package init(
        hardware: MACAddress?, name: String? = nil, address: IPAddress? = nil, transport: String,
        port: UInt16? = nil, reason: String? = nil
    ) {
        self.hardware = hardware
        self.name = name
        self.address = address
        self.transport = transport
        self.port = port
        self.reason = reason
    }

    /// A refused IP packet; nil if it is none.
    package init?(hardware: MACAddress, packet: RawSpan) {
        guard packet.byteCount > 0 else { return nil }
        if packet.byte(at: IPv6Header.Field.version) >> 4 == 6 {
            guard packet.byteCount >= IPv6Header.length else { return nil }
            self.init(
                hardware, .ipv6(IPv6Address(packet, at: IPv6Header.Field.destination)),
                packet.byte(at: IPv6Header.Field.nextHeader), packet.from(IPv6Header.length))
            return
        }
        guard packet.byteCount >= IPv4Header.length else { return nil }
        let headerLength = IPv4Header.length(versionAndLength: packet.byte(at: IPv4Header.Field.versionAndLength))
        // A later fragment has no ports.
        let isLater = packet.big16(at: IPv4Header.Field.fragment) & IPv4Header.Fragment.offsetMask != 0
        self.init(
            hardware, .ipv4(IPv4Address(packet, at: IPv4Header.Field.destination)),
            packet.byte(at: IPv4Header.Field.protocolNumber),
            packet.from(isLater ? packet.byteCount : min(headerLength, packet.byteCount)))
    }

    private init(_ hardware: MACAddress, _ address: IPAddress, _ number: UInt8, _ transport: RawSpan) {
        // TCP's ports are where UDP's are; the length follows.
        let hasPort =
            (number == IPProtocol.tcp || number == IPProtocol.udp) && transport.byteCount >= UDPHeader.Field.length
        let text =
            switch number {
            case IPProtocol.tcp: "tcp"
            case IPProtocol.udp: "udp"
            case IPProtocol.icmp, IPProtocol.icmpv6: "icmp"
            default: "\(number)"
            }
        self.init(
            hardware: hardware, address: address, transport: text,
            port: hasPort ? transport.big16(at: UDPHeader.Field.destinationPort) : nil)
    }
}

/// Refusals that wait to be reported, each once. A guest that causes many fills its share, and the rest is counted.
package struct RefusalTable: Sendable {
    /// Refusals of one guest, and of all.
    private static let share = 16, capacity = 256

    private var guests: [MACAddress?: Set<EgressRefusal>] = [:]
    private var count = 0
    /// Refusals that had no room.
    private var further: [MACAddress?: Int] = [:]

    /// An empty table.
    package init() {}

    /// Whether a refusal of this guest has room. If it has none, it is counted.
    package mutating func hasRoom(for guest: MACAddress?) -> Bool {
        if count < RefusalTable.capacity, guests[guest]?.count ?? 0 < RefusalTable.share { return true }
        if further.count < RefusalTable.capacity || further[guest] != nil { further[guest, default: 0] += 1 }
        return false
    }

    /// Adds a refusal for which there is room.
    package mutating func insert(_ refusal: EgressRefusal) {
        if guests[refusal.hardware, default: []].insert(refusal).inserted { count += 1 }
    }

    /// Removes the refusals, and the number of those of each guest that had no room.
    package mutating func take() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) {
        defer { self = RefusalTable() }
        return (guests.values.flatMap(\.self), further)
    }
}
