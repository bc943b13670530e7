// SPDX-License-Identifier: Apache-2.0
import Wire

/// The guest that is charged for a resource. Not its addresses: a guest can make up any number of them.
package enum GuestOwner: Hashable, Sendable {
    /// Everything behind one port of the switch.
    case port(UInt16)
    /// A client with a lease, behind a port that it shares with others.
    case hardware(MACAddress)
    /// An address, if neither is known.
    case address(IPv6Address)
    case unknown

    init(_ address: IPv4Address) { self = .address(IPv6Address(0, UInt64(address.value))) }
}
