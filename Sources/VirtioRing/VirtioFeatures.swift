// SPDX-License-Identifier: Apache-2.0

/// Feature bits of a network device (virtio 1.2 sections 5.1.3 and 6), as far as they are offered.
package struct VirtioFeatures: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    private static func bit(_ number: UInt64) -> VirtioFeatures { VirtioFeatures(rawValue: 1 << number) }

    /// The guest may send frames with unfinished checksums.
    package static let checksum = bit(0)
    /// The guest takes frames with unfinished checksums.
    package static let guestChecksum = bit(1)
    /// The front end may give the guest an MTU.
    package static let mtu = bit(3)
    /// The guest takes GSO frames with TCP over IPv4.
    package static let guestTSO4 = bit(7)
    /// The guest takes GSO frames with TCP over IPv6.
    package static let guestTSO6 = bit(8)
    /// The guest takes GSO frames whose first segment carries CWR.
    package static let guestECN = bit(9)
    /// The guest may send GSO frames with TCP over IPv4.
    package static let hostTSO4 = bit(11)
    /// The guest may send GSO frames with TCP over IPv6.
    package static let hostTSO6 = bit(12)
    /// The guest may send GSO frames whose first segment carries CWR.
    package static let hostECN = bit(13)
    /// A received frame may lie in several chains.
    package static let mergeableBuffers = bit(15)
    /// The guest may use several queue pairs.
    package static let multiqueue = bit(22)
    /// Of vhost-user itself: pages that are written are marked in the dirty log.
    package static let logAll = bit(26)
    /// A chain may lie in a separate table.
    package static let indirectDescriptors = bit(28)
    /// Each side names the entry that is to be announced to it.
    package static let eventIndex = bit(29)
    /// Of vhost-user itself.
    package static let protocolFeatures = bit(30)
    /// The device is not a legacy one.
    package static let version1 = bit(32)

    /// The rings are packed ones.
    package static let packedRings = bit(34)

    /// Everything that is offered to a guest.
    package static let offered: VirtioFeatures = [
        .checksum, .guestChecksum, .mtu, .guestTSO4, .guestTSO6, .guestECN, .hostTSO4, .hostTSO6, .hostECN,
        .mergeableBuffers, .multiqueue, .logAll, .indirectDescriptors, .eventIndex, .protocolFeatures, .version1,
        .packedRings,
    ]
}
