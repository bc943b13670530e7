// SPDX-License-Identifier: Apache-2.0

/// The state of a network link.
package struct LinkState: Equatable, Sendable {
    /// The interface is set up (IFF_UP).
    package let isUp: Bool
    /// The interface is set up and has a carrier (IFF_RUNNING).
    package let isRunning: Bool
    /// Bytes of the longest IP packet.
    package let mtu: Int
    /// Index of the bridge that the link is a port of; nil if it is not in one.
    package let bridge: UInt32?
    /// The link group, a number that several links share (ip-link(8)).
    package let group: UInt32
}
