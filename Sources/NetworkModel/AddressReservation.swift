// SPDX-License-Identifier: Apache-2.0
import Wire

/// The addresses that DHCP assigns to one hardware address only, and the guest's name if it is fixed:
/// `52:54:00:00:00:01,192.168.105.10`, with `,::10` or `,fd12:3456:789a::10` for IPv6, and with `,web` for the name.
package struct AddressReservation: Hashable, Sendable {
    /// Of the guest.
    package let hardware: MACAddress
    /// The address that it gets.
    package let address: IPv4Address
    /// The IPv6 address that it gets; nil for none. One that begins with 64 zeros is completed by the network's prefix.
    package let address6: IPv6Address?
    /// The name that it has, whatever name it sends; no other guest gets it.
    package let name: GuestName?

    /// - Parameter address: within the guests' network; the caller checks that.
    package init(
        hardware: MACAddress, address: IPv4Address, address6: IPv6Address? = nil, name: GuestName? = nil
    ) {
        self.hardware = hardware
        self.address = address
        self.address6 = address6
        self.name = name
    }

    /// Parses the forms above. Nil for any other text, for addresses that no guest can have, and for a text that is no
    /// `GuestName`.
    package init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard (2...4).contains(parts.count), let hardware = MACAddress(parts[0]), !hardware.isGroup, hardware != .zero,
            let address = IPv4Address(parts[1]), address != .any,
            !address.isLoopback, !address.isMulticastOrBroadcast
        else { return nil }
        var name: GuestName?, address6: IPv6Address?
        for part in parts[2...] {
            if address6 == nil, name == nil, let six = IPv6Address(part), AddressReservation.isGuests(six) {
                address6 = six
            } else if name == nil, let valid = GuestName(part) {
                name = valid
            } else {
                return nil
            }
        }
        self.init(hardware: hardware, address: address, address6: address6, name: name)
    }

    /// Why a text is not of the forms above: the cause and the next step. Nil for one that is.
    package static func refusal(of text: some StringProtocol) -> String? {
        if AddressReservation(text) != nil { return nil }
        let form = "write MAC,IP[,IP6][,NAME], such as 52:54:00:00:00:01,192.168.105.10,web"
        let parts = text.split(separator: ",", omittingEmptySubsequences: false)
        guard (2...4).contains(parts.count) else { return "'\(text)' has \(parts.count) parts; \(form)" }
        guard let hardware = MACAddress(parts[0]), !hardware.isGroup, hardware != .zero else {
            return "'\(parts[0])' is not the hardware address of a guest; \(form)"
        }
        guard let address = IPv4Address(parts[1]), address != .any, !address.isLoopback,
            !address.isMulticastOrBroadcast
        else { return "'\(parts[1])' is not an IPv4 address that a guest can have; \(form)" }
        for part in parts[2...] {
            if let six = IPv6Address(part) {
                if let mapped = MappedAddress(six) {
                    return "'\(part)' \(mapped.refusal(write: "an IPv6 address such as ::10, or leave it out"))"
                }
                if !isGuests(six) { return "'\(part)' is not an IPv6 address that a guest can have, such as ::10" }
            } else if GuestName.isReserved(part) {
                return "the name '\(part)' is reserved, because it is the host's or a service's; choose another"
            } else if GuestName(part) == nil {
                return """
                    '\(part)' is not the name of a guest: one label of letters, digits and hyphens, at most 63 and \
                    not only digits
                    """
            }
        }
        return "'\(text)' has two names or two IPv6 addresses; \(form)"
    }

    /// Whether a guest can have an address: neither the network's own nor its gateway's, nor that of a link or a group.
    private static func isGuests(_ address: IPv6Address) -> Bool {
        address.low > 1 && !address.isLinkLocal && !address.isMulticast && address.mappedIPv4 == nil
    }

    /// The whole IPv6 address in a network; nil for none, and for one of another network.
    package func address6(in network: IPv6Network) -> IPv6Address? {
        guard let address6 else { return nil }
        let whole = address6.high == 0 ? IPv6Address(network.base.high, address6.low) : address6
        return network.contains(whole) ? whole : nil
    }
}

extension AddressReservation: CustomStringConvertible {
    package var description: String {
        "\(hardware),\(address)" + (address6.map { ",\($0)" } ?? "") + (name.map { ",\($0)" } ?? "")
    }
}
