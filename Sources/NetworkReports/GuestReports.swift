// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Switching
import Timing
import Wire

/// Logs guests that violate the rules: one line for each port and kind of violation, and another one after ten minutes
/// if it continues.
package struct GuestReports {
    private static let repeatInterval = TimeAmount.minutes(10)

    private struct Key: Hashable {
        let port: PortNumber
        let offence: GuestOffence
    }

    /// A guest's port.
    package struct Location {
        /// The port's name in messages.
        let name: String
        /// The port's number on this process's switch; nil on another one.
        let number: Int?

        package init(name: String, number: Int?) {
            self.name = name
            self.number = number
        }
    }

    /// When each was logged last: a few entries for each port.
    private var logged: [Key: Instant] = [:]
    private let logger: Logger

    package init(logger: Logger) { self.logger = logger }

    /// Forgets a port that another guest has got.
    package mutating func forget(_ port: PortNumber) {
        for offence in GuestOffence.allCases { logged[Key(port: port, offence: offence)] = nil }
    }

    /// Logs a violation, unless the same one was logged recently.
    package mutating func log(
        _ hardware: MACAddress, at port: PortNumber, _ location: Location, _ offence: GuestOffence,
        now: Instant = BootClock.now
    ) {
        let key = Key(port: port, offence: offence)
        if let last = logged[key], now - last < GuestReports.repeatInterval { return }
        logged[key] = now
        logger.warning("\(GuestReports.message(hardware, location, offence))")
    }

    static func message(_ hardware: MACAddress, _ location: Location, _ offence: GuestOffence) -> String {
        """
        a guest that sends as \(hardware) at \(location.name) \(violation(offence)), which is \
        \(location.number.map { own(offence, hardware, $0) } ?? joined)
        """
    }

    private static func violation(_ offence: GuestOffence) -> String {
        switch offence {
        case .dhcp: "answers DHCP requests"
        case .dhcpIPv6: "answers DHCPv6 requests"
        case .routerAdvertisement: "sends router advertisements"
        case .redirect: "sends ICMP redirects"
        case .gateway: "claims an address of the gateway"
        case .address: "claims an IPv6 address of another guest"
        case .neighbor: "names the hardware address of another guest in ARP or neighbour discovery"
        case .hiddenHeader: "sends packets whose headers are cut off or spread over fragments"
        case .tooManyTags: "sends frames with more than \(LinkHeader.limit) VLAN tags"
        case .tooManyAddresses: "uses more than \(GuestRules.addressLimit) addresses at a time"
        }
    }

    private static let joined =
        """
        kept from this host; other guests on that switch receive it, because another program runs the switch \
        (vde_vmnet --switch drops it)
        """

    private static func own(_ offence: GuestOffence, _ hardware: MACAddress, _ number: Int) -> String {
        switch offence {
        case .dhcp:
            """
            dropped: guests may not be servers here; --allow-server \(number) or --allow-server \(hardware) allows it, \
            --dhcp off leaves all addresses to it
            """
        case .dhcpIPv6, .routerAdvertisement, .redirect:
            "dropped: guests may not be servers here; --allow-server \(number) or --allow-server \(hardware) allows it"
        case .gateway: "dropped: no guest may have it"
        case .address:
            """
            dropped: it is reserved for that guest, or belongs to the guest that used it first, until that guest's \
            port is gone or it has sent nothing for \(GuestRules.addressAnswerTimeout.seconds) seconds
            """
        case .neighbor: "dropped: frames for that address would reach another guest"
        case .tooManyAddresses:
            """
            dropped: this host would keep each of them in its table of neighbours, which all guests share; \
            if there are several guests behind this port, configure it for them: --trunk \(number)
            """
        case .hiddenHeader, .tooManyTags:
            "dropped: they could hide a router advertisement, a DHCP answer, or a claim to the gateway's address"
        }
    }
}
