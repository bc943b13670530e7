// SPDX-License-Identifier: Apache-2.0
import Wire

/// The addresses, ports and protocol of a flow between a guest and the outside. IPv4 addresses are in the low bits of
/// the IPv6 fields.
package struct FlowKey: Hashable, Sendable {
    let guest: IPv6Address
    let remote: IPv6Address
    /// Guest's port, remote port, protocol.
    private let ports: UInt64

    /// IPv4 addresses come in the low 32 bits of `guest` and `remote`; ports are 0 for protocols without.
    package init(
        _ protocolNumber: UInt8, guest: IPv6Address, _ guestPort: UInt16, remote: IPv6Address, _ remotePort: UInt16
    ) {
        self.guest = guest
        self.remote = remote
        ports = UInt64(guestPort) << 32 | UInt64(remotePort) << 16 | UInt64(protocolNumber)
    }

    /// The key of a flow between addresses of the same version.
    init(
        _ protocolNumber: UInt8, guest: IPAddress, _ guestPort: UInt16, remote: IPAddress, _ remotePort: UInt16
    ) {
        self.init(
            protocolNumber, guest: FlowKey.field(guest), guestPort, remote: FlowKey.field(remote), remotePort)
    }

    private static func field(_ address: IPAddress) -> IPv6Address {
        switch address {
        case .ipv4(let address): IPv6Address(embedding: address)
        case .ipv6(let address): address
        }
    }

    /// The key of everything that the guest sends from this port.
    /// - Parameter isOnHost: to destinations on this host, which another socket carries if the path is chosen.
    func withoutRemote(isOnHost: Bool = false) -> FlowKey {
        FlowKey(protocolNumber, guest: guest, guestPort, remote: .unspecified, isOnHost ? 1 : 0)
    }

    var protocolNumber: UInt8 { UInt8(truncatingIfNeeded: ports) }
    var guestPort: UInt16 { UInt16(truncatingIfNeeded: ports >> 32) }
    var remotePort: UInt16 { UInt16(truncatingIfNeeded: ports >> 16) }
    /// A guest's IPv6 address always has a prefix.
    var isIPv6: Bool { guest.high != 0 }

    /// The addresses, of either version.
    var guestAddress: IPAddress { isIPv6 ? .ipv6(guest) : .ipv4(guestIPv4) }
    var remoteAddress: IPAddress { isIPv6 ? .ipv6(remote) : .ipv4(remoteIPv4) }

    /// The addresses of an IPv4 flow.
    var guestIPv4: IPv4Address { IPv4Address(UInt32(truncatingIfNeeded: guest.low)) }
    var remoteIPv4: IPv4Address { IPv4Address(UInt32(truncatingIfNeeded: remote.low)) }
}
