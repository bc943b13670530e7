// SPDX-License-Identifier: Apache-2.0
import NetworkModel

/// The properties of a vmnet interface to start. The system chooses those that are nil.
package struct VmnetOptions: Equatable, Sendable {
    /// vmnet's modes (operating_modes_t).
    package enum Mode: Equatable, Sendable {
        case host
        case shared
        /// Part of the network that this physical interface is on.
        case bridged(String)
    }

    /// The kind of network (vmnet_operation_mode_key).
    package var mode: Mode
    /// The host's address, the last address for guests, and the network's size.
    package var network: GuestNetwork?
    /// Bytes of the longest IP packet.
    package var mtu: Int?
    /// 16 bytes from which vmnet makes the hardware address, the same in every run.
    package var interfaceID: [UInt8]?
    /// 16 bytes that identify an isolated host network without DHCP.
    package var networkID: [UInt8]?
    /// The IPv6 prefix of the NAT, such as `fd00:1:2:3::`. Shared mode only.
    package var nat66Prefix: String?
    /// Guests do not reach each other.
    package var isIsolated = false
    /// How GSO frames are exchanged.
    package var offload: Offload = .none
    /// The physical interface that guests' packets leave by. Shared mode only.
    package var externalInterface: String?
    /// bootpd, Apple's DHCP server, assigns no addresses.
    package var disablesDHCP = false
    /// The addresses that bootpd reserves.
    package var reservations: [AddressReservation] = []
    /// Ports of the Mac that lead to guests. Shared mode only. vmnet cannot bind them to an address.
    package var published: [PublishedPort] = []

    /// How GSO frames of up to 64 KiB are exchanged with vmnet.
    package enum Offload: Sendable {
        case none
        /// Without metadata.
        case plain
        /// With a virtio header before every frame (macOS 15.4).
        case virtio
    }

    /// Whether these options need a network object of macOS 26.
    package var needsNetworkObject: Bool { externalInterface != nil || disablesDHCP || !reservations.isEmpty }

    /// - Parameter mode: the others start with the system's defaults.
    package init(mode: Mode) { self.mode = mode }
}
