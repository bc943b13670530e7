// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import Wire

/// What a vmnet interface is to be. What is nil is left to the system.
package struct VmnetOptions: Equatable, Sendable {
    package enum Mode: Equatable, Sendable {
        case host
        case shared
        /// Part of the network that this physical interface is on.
        case bridged(String)
    }

    package var mode: Mode
    /// The host's address, the last address for guests, and the network's size.
    package var network: GuestNetwork?
    /// Bytes of the longest IP packet.
    package var mtu: Int?
    /// 16 bytes that give the same hardware address in every run.
    package var interfaceID: [UInt8]?
    /// 16 bytes that name a host network of its own, without DHCP.
    package var networkID: [UInt8]?
    /// Such as `fd00:1:2:3::`, for shared.
    package var nat66Prefix: String?
    package var isIsolated = false
    package var offload: Offload = .none
    /// The physical interface that leads out, for shared.
    package var externalInterface: String?
    /// Apple's bootpd gives nothing out.
    package var disablesDHCP = false
    /// What bootpd gives to whom.
    package var reservations: [AddressReservation] = []
    /// Ports of the Mac that lead to guests, for shared. vmnet knows nothing of addresses that they are bound to.
    package var published: [PublishedPort] = []

    /// How TCP segments of up to 64 KiB come and go in one piece.
    package enum Offload: Sendable {
        case none
        /// As long frames, of which nothing is said.
        case plain
        /// Behind a virtio header, which every frame has then (macOS 15.4).
        case virtio
    }

    /// Whether this takes a network object of macOS 26.
    package var needsNetworkObject: Bool { externalInterface != nil || disablesDHCP || !reservations.isEmpty }

    package init(mode: Mode) { self.mode = mode }
}

/// What was started.
package struct VmnetParameters: Equatable, Sendable {
    /// nil in bridged mode.
    package var network: GuestNetwork?
    package var mtu: Int
    /// Bytes of the longest frame.
    package var maximumFrame: Int
    /// Frames in one call of read and of write.
    package var batches: (read: Int, write: Int)
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

    package static func == (one: VmnetParameters, other: VmnetParameters) -> Bool {
        one.network == other.network && one.mtu == other.mtu && one.maximumFrame == other.maximumFrame
            && one.batches == other.batches && one.nat66Prefix == other.nat66Prefix
    }
}

/// Why vmnet.framework did not do what it was asked to: one sentence with the cause and what to do.
package struct VmnetFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// vmnet_return_t; 0 for an answer that did not come.
    package let status: Int32
    package let description: String
    /// True if the right to use it may be what is missing.
    package let isPermission: Bool

    package init(status: Int32, description: String, isPermission: Bool = false) {
        self.status = status
        self.description = description
        self.isPermission = isPermission
    }
}

/// A started interface.
package protocol VmnetInterface: AnyObject, Sendable {
    var parameters: VmnetParameters { get }
    /// For a port of the forwarder. Not to be used after `stop`.
    var device: FrameDevice { get }
    /// Another descriptor of the wake-up that tells of frames, which the caller owns.
    func wakeupDescriptor() throws(SystemError) -> Descriptor
    /// Ends it, and waits for that.
    func stop() throws(VmnetFailure)
}

/// vmnet.framework, or what stands for it.
package protocol VmnetProvider: Sendable {
    /// Starts an interface, and waits for it.
    func start(_ options: VmnetOptions) throws(VmnetFailure) -> any VmnetInterface
    /// The physical interfaces that can be bridged.
    func bridgeableInterfaces() -> [String]
    /// Whether this system's vmnet has virtio headers (macOS 15.4).
    var hasVirtioHeaders: Bool { get }
    /// Whether it has network objects (macOS 26).
    var hasNetworkObjects: Bool { get }
    /// How long the machine has slept, in nanoseconds: differences count only.
    var timeAsleep: UInt64 { get }
}

extension VmnetProvider {
    package var timeAsleep: UInt64 { MonotonicClock.asleep }
}
