// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Which guest uses which address, of both versions of IP.
struct GuestNeighbors: Sendable {
    var ipv4 = NeighborTable<IPv4Address>()
    var ipv6 = NeighborTable<IPv6Address>()

    /// The hardware address that uses `address`; nil if none is known.
    func hardware(of address: IPAddress) -> MACAddress? {
        switch address {
        case .ipv4(let address): ipv4.hardware(of: address)
        case .ipv6(let address): ipv6.hardware(of: address)
        }
    }

    /// The second in which the holder of `address` has used it last; nil if none is known.
    func lastSeen(of address: IPAddress) -> CoarseInstant? {
        switch address {
        case .ipv4(let address): ipv4.lastSeen(of: address)
        case .ipv6(let address): ipv6.lastSeen(of: address)
        }
    }

    /// The guest that is charged for an address.
    func owner(of address: IPAddress) -> GuestOwner? {
        switch address {
        case .ipv4(let address): ipv4.owner(of: address)
        case .ipv6(let address): ipv6.owner(of: address)
        }
    }
}
