// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Uplink
import Wire

/// Where the host's own queries for names of guests are answered.
package enum HostDNS: Equatable, Sendable {
    /// At an address of this program's choice, if the uplink has a resolver of the host send them there.
    case automatic
    /// At this loopback address.
    case at(SocketAddress)
    case off

    /// Not 53, at which a name server of the host may listen on all addresses.
    private static let port: UInt16 = 5300

    /// The address of choice, one for each guest network: 127.168.105.1:5300 if the gateway is 192.168.105.1.
    package static func address(of network: GuestNetwork) -> SocketAddress {
        let gateway = network.gateway.value
        return SocketAddress(IPv4Address(127 << 24 | gateway & 0xff_ffff), port: port)
    }

    /// Where the host's queries are answered, if they are; nil if not.
    package func address(for network: GuestNetwork) -> SocketAddress? {
        switch self {
        case .automatic: HostDNS.address(of: network)
        case .at(let chosen): chosen
        case .off: nil
        }
    }

    /// The domains of a guest network: of names, and of addresses, if the network ends at an octet. An IPv6 network
    /// ends at 64 bits.
    package static func domains(of addressing: HostAddressing, _ domain: GuestDomain) -> [String] {
        let network = addressing.network.network, length = network.prefixLength
        var domains = [domain.description]
        if length > 0, length % 8 == 0, length < 32 {
            let octets = network.base.bytes.prefix(length / 8).reversed().map { String($0) }
            domains.append(octets.joined(separator: ".") + ".in-addr.arpa")
        }
        if let network6 = addressing.network6 {
            let digits = network6.base.bytes.prefix(8).flatMap { [$0 >> 4, $0 & 0xf] }
            domains.append(digits.reversed().map { String($0, radix: 16) }.joined(separator: ".") + ".ip6.arpa")
        }
        return domains
    }
}
