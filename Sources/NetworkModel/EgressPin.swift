// SPDX-License-Identifier: Apache-2.0
import Wire

/// An address that one guest may connect to for a time, because the name service has answered it.
package struct EgressPin: Hashable, Sendable {
    /// What the guest may send to the address.
    package enum Scope: Hashable, Sendable {
        case tcp(UInt16)
        case udp(UInt16)
        /// Everything but what would go around the name service: DNS (53), DNS over TLS and QUIC (853), and UDP 443,
        /// which has QUIC and DNS over HTTPS/3.
        case everyPort
    }

    /// Ports of TCP and UDP that `Scope.everyPort` leaves out.
    package static let resolverPorts: [UInt16] = [53, 853]
    /// A port of UDP that `Scope.everyPort` leaves out.
    package static let quicPort: UInt16 = 443

    /// The guest's hardware address: its query over IPv4 pins IPv6 addresses as well.
    package let guest: MACAddress
    /// The destination.
    package let address: IPAddress
    /// What the guest may send there.
    package let scope: Scope

    package init(guest: MACAddress, address: IPAddress, scope: Scope) {
        self.guest = guest
        self.address = address
        self.scope = scope
    }
}

extension IPv4Address {
    /// An address of the public Internet: none of IANA's special-purpose addresses (RFC 6890) but those for
    /// documentation (RFC 5737), which no network uses, and AS112 and AMT servers (RFC 7535, RFC 7450), which are on
    /// the Internet. `NATTable` has the same list.
    package var isGlobal: Bool {
        let isSpecial =
            value >> 24 == 0 || isPrivate || isLoopback || isLinkLocal || value >= 0xe000_0000
            || value >> 22 == 0x6440_0000 >> 22  // 100.64.0.0/10, RFC 6598
            || value >> 8 == 0xc0_0000  // 192.0.0.0/24, with anycast of the nearest network
            || value >> 8 == 0xc0_5863  // 192.88.99.0/24, relays of 6to4, RFC 7526
            || value >> 17 == 0xc612_0000 >> 17  // 198.18.0.0/15, RFC 2544
        return !isSpecial
    }
}

extension IPv6Address {
    /// A global unicast address (RFC 4291 section 2.5.4) that no translator leads to an IPv4 address, and that is on
    /// the Internet: 2000::/3 without 2001::/32 (Teredo), 2001:2::/48 (benchmarks, RFC 5180), 2001:10::/28 (ORCHID, RFC
    /// 4843) and 2002::/16 (6to4). Addresses for documentation count, as for IPv4.
    package var isGlobal: Bool {
        high >> 61 == 1 && high >> 48 != 0x2002 && high >> 32 != 0x2001_0000 && high >> 16 != 0x2001_0002_0000
            && high >> 36 != 0x200_1001
    }
}
