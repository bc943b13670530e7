// SPDX-License-Identifier: Apache-2.0
import NetworkModel

/// The properties of a network that the uplink's provider has chosen.
package struct UplinkParameters: Equatable, Sendable {
    /// The guests' network; nil in bridged mode, and if the provider does not report it.
    package var network: GuestNetwork?
    /// Bytes of the longest IP packet.
    package var mtu: Int
    /// Bytes of the longest frame.
    package var maximumFrame: Int
    /// Frames in one call of read and of write.
    package var batches: (read: Int, write: Int)
    /// The IPv6 prefix of the provider's NAT.
    package var nat66Prefix: String?

    package init(
        network: GuestNetwork?, mtu: Int, maximumFrame: Int, batches: (read: Int, write: Int), nat66Prefix: String?
    ) {
        self.network = network
        self.mtu = mtu
        self.maximumFrame = maximumFrame
        self.batches = batches
        self.nat66Prefix = nat66Prefix
    }

    package static func == (one: UplinkParameters, other: UplinkParameters) -> Bool {
        one.network == other.network && one.mtu == other.mtu && one.maximumFrame == other.maximumFrame
            && one.batches == other.batches && one.nat66Prefix == other.nat66Prefix
    }
}
