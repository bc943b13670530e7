// SPDX-License-Identifier: Apache-2.0
import Wire

/// The addresses in frames of a connection between a guest and the outside.
struct TCPEndpoints: Sendable {
    let key: FlowKey
    /// The gateway's hardware address, the source of all frames from outside.
    let gatewayHardware: MACAddress
    /// The guest's; nil while it is not known.
    var guestHardware: MACAddress?

    var isIPv6: Bool { key.isIPv6 }
    /// Bytes of the IP header.
    var ipHeaderLength: Int { isIPv6 ? IPv6Header.length : IPv4Header.length }
}
