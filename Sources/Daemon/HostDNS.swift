// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
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

    /// The domains of a guest network: of names, and of addresses, if the network ends at an octet.
    package static func domains(of network: GuestNetwork, _ domain: GuestDomain) -> [String] {
        let length = network.network.prefixLength
        guard length > 0, length % 8 == 0, length < 32 else { return [domain.description] }
        let octets = network.network.base.bytes.prefix(length / 8).reversed().map { String($0) }
        return [domain.description, octets.joined(separator: ".") + ".in-addr.arpa"]
    }
}
