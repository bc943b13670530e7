// SPDX-License-Identifier: Apache-2.0

/// Why a frame was not delivered.
@usableFromInline
package enum DropReason: Int, CaseIterable, Sendable {
    /// Shorter than an Ethernet header, or empty.
    case runt
    /// Longer than any frame, or than the egress port carries.
    case oversize
    /// A header that contradicts itself: a group address as source, an offload that does not fit the frame.
    case malformed
    /// The sender used an address that is static at another port, such as the gateway's.
    case spoofed
    /// The receiver does not read, and its queue is full.
    case queueFull
    /// The receiver has gone.
    case unreachable
    /// The port is not in the frame's VLAN.
    case vlan
    /// From one guest to another, with guests isolated.
    case isolated
    /// The port is blocked, because its frames come back by another one.
    case loop
    /// A guest acted as a router or DHCP server of a network that has its own.
    case serving
    /// Headers that are cut off or spread over fragments, so that the guards cannot see what the packet is.
    case hidden
    /// More VLAN tags than the guards read.
    case tags
    /// Beyond the rate limit of the port.
    case limited
    /// A request to the gateway's DNS or TFTP in fragments.
    case fragment
}
