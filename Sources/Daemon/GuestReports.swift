// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Logging
import Platform
import Switching
import Wire

/// A guest that may be a router and a DHCP server for the others.
package enum AllowedServer: Equatable, Sendable, CustomStringConvertible {
    /// The one behind this port of our switch.
    case port(Int)
    case hardware(MACAddress)

    package var description: String {
        switch self {
        case .port(let number): "port \(number)"
        case .hardware(let address): "\(address)"
        }
    }
}

/// Names guests that break the rules in the log: one line for a port and an offence, and another after ten minutes if
/// it goes on.
struct GuestReports {
    private static let pause = 600 * MonotonicClock.second

    private struct Key: Hashable {
        let port: PortNumber
        let offence: GuestOffence
    }

    /// Where a guest is.
    struct Place {
        /// What its port is called in messages.
        let name: String
        /// The number of the port of our own switch; nil on a switch that was joined.
        let number: Int?
    }

    /// When each was named last: at most a few for each port.
    private var named: [Key: UInt64] = [:]
    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    /// Another guest has got this port.
    mutating func forget(_ port: PortNumber) {
        for offence in GuestOffence.allCases { named[Key(port: port, offence: offence)] = nil }
    }

    mutating func name(
        _ hardware: MACAddress, at port: PortNumber, _ place: Place, _ offence: GuestOffence,
        now: UInt64 = MonotonicClock.now
    ) {
        let key = Key(port: port, offence: offence)
        if let last = named[key], now - last < GuestReports.pause { return }
        named[key] = now
        logger.warning("\(GuestReports.message(hardware, place, offence))")
    }

    static func message(_ hardware: MACAddress, _ place: Place, _ offence: GuestOffence) -> String {
        "\(hardware) at \(place.name) \(deed(offence)), which is \(place.number.map { own(offence, hardware, $0) } ?? joined)"
    }

    private static func deed(_ offence: GuestOffence) -> String {
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
        }
    }

    private static let joined =
        "kept from this host; other guests on that switch receive it, since the switch is not ours (vde_vmnet --switch drops it)"

    private static func own(_ offence: GuestOffence, _ hardware: MACAddress, _ number: Int) -> String {
        switch offence {
        case .dhcp:
            "dropped: guests do not serve here; --allow-server \(number) or --allow-server \(hardware) lets it, --dhcp off leaves all addresses to it"
        case .dhcpIPv6, .routerAdvertisement, .redirect:
            "dropped: guests do not serve here; --allow-server \(number) or --allow-server \(hardware) lets it"
        case .gateway: "dropped: no guest may have it"
        case .address:
            "dropped: it belongs to the guest that used it first, until that one's port is gone or it has been silent for \(GuestRules.addressAnswerTimeout) seconds"
        case .neighbor: "dropped: what is for it would reach another guest"
        case .hiddenHeader, .tooManyTags:
            "dropped: what they hide could be a router advertisement, a DHCP answer, or a claim to the gateway's address"
        }
    }
}
