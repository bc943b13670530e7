// SPDX-License-Identifier: Apache-2.0

/// Why a frame between guests and the user-mode NAT was dropped.
package enum NATDropReason: Int, CaseIterable, Sendable {
    /// Lengths or fields that contradict each other.
    case malformed
    case badChecksum
    /// A source address that is not the sender's.
    case spoofed
    /// Fragments that overlap, are too many, or were never complete.
    case fragment
    /// What this network does not carry: protocols, options, extension headers.
    case unsupported
    /// The policy refuses the destination.
    case refused
    /// A TTL or hop limit of 1.
    case expired
    /// A datagram from an address to which the guest's port has sent nothing.
    case unsolicited
    /// A datagram that the host could not send.
    case unsent
}
