// SPDX-License-Identifier: Apache-2.0
import FrameIO

/// A port to be attached to a switch.
package struct PortConfiguration: Sendable {
    /// For messages, such as `/tmp/vde`.
    package var name: String
    /// How the descriptor moves frames.
    package var kind: PortKind
    /// What the port is to the network.
    package var role: PortRole
    /// The descriptor, which the switch takes over; for `device` the reading end of the wakeup, or a descriptor that is
    /// readable while the device has work; -1 for `service`.
    package var descriptor: Int32
    /// Bytes of the longest frame that may be sent to this port. Longer ones are split, answered or dropped there; GSO
    /// frames are segmented.
    package var maximumFrame: Int
    /// False for a port with one known address, which frames to unknown addresses need not reach.
    package var receivesUnknown = true
    /// For `guest`: how many guests there are.
    package var reach = PortReach.guest
    /// The guest may be a router and a DHCP server (`GuestRules`).
    package var mayServe = false
    /// Ports with the same number other than 0 are connections to one port: each of them receives the frames for that
    /// port, and none the frames of another one.
    package var group: UInt16 = 0
    /// The VLAN of frames without a tag (802.1Q clause 6.9: PVID); `noVLAN` if the port takes tagged frames only.
    package var pvid: UInt16 = 0
    /// The guests at this port reach no other guests.
    package var isIsolated = false
    /// The limit of the port's rate, each way; nil for none.
    package var limit: RateLimit?
    /// VLANs whose frames this port sends and takes with a tag.
    package var taggedVLANs: [UInt16] = []

    /// For a socket: the MTU of a guest that sends and receives frames up to 64 KiB without a virtio header, as a VMM
    /// passes them on whose guest was offered checksum and segmentation offload; 0 for plain frames.
    package var offloadMTU = 0

    /// For a client of a datagram listener: the listener's port.
    package var listener: PortNumber?
    /// For a client of a datagram listener: the name that the client has bound, as `sockaddr_un` has it.
    package var peer: [UInt8] = []
    /// For a client of a datagram listener: the name to send to, if that is not `peer`; else empty.
    package var destination: [UInt8] = []
    /// An `O_PATH` descriptor that keeps the destination the same socket, which the switch takes over; -1 for none.
    package var peerHandle: Int32 = -1

    /// For `device`.
    package var device: FrameDevice?
    /// An object that `device` uses, kept until the port is detached; nil if its creator keeps it for longer.
    package var owner: (any AnyObject & Sendable)?
    /// For a device that injects frames.
    package var injector: InjectionPort?

    /// Stands for no VLAN at all.
    package static let noVLAN: UInt16 = 0xfff

    /// Further properties have defaults that suit a guest's port.
    package init(
        name: String, kind: PortKind, role: PortRole, descriptor: Int32, maximumFrame: Int, receivesUnknown: Bool = true
    ) {
        self.name = name
        self.kind = kind
        self.role = role
        self.descriptor = descriptor
        self.maximumFrame = maximumFrame
        self.receivesUnknown = receivesUnknown
    }
}
