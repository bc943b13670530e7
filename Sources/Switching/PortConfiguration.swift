// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// How a port's descriptor moves frames.
@usableFromInline
package enum PortKind: BitwiseCopyable, Sendable {
    /// A connected datagram socket, one plain frame a datagram: VDE, QEMU dgram, an inherited socket.
    case datagram
    /// A connected stream socket, each plain frame behind its length: QEMU stream, socket_vmnet's clients.
    case stream
    /// An unconnected datagram socket to which many clients send: no port itself, each of them is one.
    case datagramListener
    /// A client of such a socket that takes datagrams from that socket alone: sent to by its name.
    case datagramClient
    /// A TAP with 12-byte virtio headers.
    case tap
    /// A packet socket with 10-byte virtio headers.
    case packet
    /// A device without a descriptor of its own: frames by functions, told of by a wake-up.
    case device
    /// No descriptor: the rings to and from the address service.
    case service
}

/// What a port is to the network, which decides who may talk to whom.
@usableFromInline
package enum PortRole: BitwiseCopyable, Sendable {
    /// A virtual machine, or a switch that has some behind it.
    case guest
    /// The way out.
    case uplink
    /// DHCP and address probes, which only guests see.
    case service
}

/// How many clients a port leads to, which decides how much of what clients share one port may take.
@usableFromInline
package enum PortReach: BitwiseCopyable, Sendable {
    /// One guest.
    case guest
    /// Further clients: a cable to another switch, a bridge.
    case trunk
    /// A switch or a cable that was joined: all its clients come through this port.
    case network
}

/// A port to be attached to a forwarder.
package struct PortConfiguration: Sendable {
    /// For messages, such as `/tmp/vde`.
    package var name: String
    package var kind: PortKind
    package var role: PortRole
    /// The descriptor, which the forwarder takes over; the reading end of the wake-up for `device`, or what tells that
    /// it has something to do; -1 for `service`.
    package var descriptor: Int32
    /// Bytes of the longest frame that may be sent to this port; longer ones are dropped there, super-frames are
    /// segmented.
    package var maximumFrame: Int
    /// False for a port behind which there is one known address only, so that frames to unknown ones need not go there.
    package var receivesUnknown = true
    /// For `guest`: how many of them there are.
    package var reach = PortReach.guest
    /// The guest behind it may be a router and a DHCP server (`GuestRules`).
    package var mayServe = false
    /// Ports with the same number other than 0 are ends of one port: all of them get what is for one, and none what
    /// another sends.
    package var bundle: UInt16 = 0
    /// The VLAN of frames without a tag (IEEE 802.1Q clause 6.9: the PVID); `noVLAN` where the port takes tagged frames
    /// only.
    package var untaggedVLAN: UInt16 = 0
    /// VLANs whose frames this port sends and takes with a tag.
    package var taggedVLANs: [UInt16] = []

    /// For a client of a datagram listener: the listener, the name that it has bound, and the name to send to, where
    /// that is another.
    package var listener: PortNumber?
    package var peer: [UInt8] = []
    package var destination: [UInt8] = []
    /// What keeps the destination what it is, which the forwarder takes over; -1 for nothing.
    package var pin: Int32 = -1

    /// For `device`.
    package var device: FrameDevice?
    /// For a device that sends on by itself what it has for machines.
    package var worker: DeviceWorker?

    /// Stands for no VLAN at all.
    package static let noVLAN: UInt16 = 0xfff

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

/// The sender of a datagram who has no port yet. The datagram itself waits for that port.
package struct Stranger: Equatable, Sendable {
    /// The name that it has bound; empty for none.
    package let name: [UInt8]
    /// Whose program it is, where the system tells.
    package let user: UInt32?
}

/// Something that happened to a port, for the thread that looks after it.
package enum PortEvent: Equatable, Sendable {
    /// The other end does not take frames: a positive errno. Reported once until the port is attached anew or
    /// `rearm`ed.
    case unreachable(PortNumber, Int32)
    /// An empty datagram came: a libvdeplug peer says goodbye; or at a datagram listener one that is no frame: a
    /// program greets. Reported once until the port is attached anew or `rearm`ed.
    case goodbye(PortNumber)
    /// Somebody has sent to a datagram listener who has no port. At most a few are told of that were not answered by a
    /// `rearm` of the listener each.
    case stranger(PortNumber, Stranger)
    /// A stream is over: its client has closed it, or announced a frame of a length that none has.
    case ended(PortNumber, badLength: UInt32?)
    /// The first frame since the port was attached or rearmed.
    case firstFrame(PortNumber)
    /// The port was closed: what the other one sends comes in here, so that the two are connected outside.
    case loop(PortNumber, with: PortNumber)
    /// The loop is gone, the port is open again.
    case loopEnded(PortNumber)
    /// A guest has broken the rules. Each kind is reported once in ten seconds for a port.
    case offence(PortNumber, GuestOffence, MACAddress)
}

/// Which frames of guests the address service wants to see.
package struct ServicePolicy: Equatable, Sendable {
    /// Take guests' DHCP requests for ourselves: besides us only guests that may serve receive them (`GuestRules`).
    package var takesDHCP = false
    /// See copies of DHCP replies that others send, to know that there is another server.
    package var watchesDHCP = false
    /// See copies of guests' ARP, for conflict probes.
    package var watchesARP = false
    /// Keep guests' DHCP requests from the uplink, behind which there is a server that is not wanted; other guests get
    /// them.
    package var withholdsDHCP = false

    package init(
        takesDHCP: Bool = false, watchesDHCP: Bool = false, watchesARP: Bool = false, withholdsDHCP: Bool = false
    ) {
        self.takesDHCP = takesDHCP
        self.withholdsDHCP = withholdsDHCP
        self.watchesDHCP = watchesDHCP
        self.watchesARP = watchesARP
    }
}

/// Whose an IPv4 address is, until then (nanoseconds of the monotonic clock).
package struct AddressOwner: Sendable {
    package let address: IPv4Address
    package let hardware: MACAddress
    package let until: UInt64

    package init(_ address: IPv4Address, _ hardware: MACAddress, until: UInt64) {
        self.address = address
        self.hardware = hardware
        self.until = until
    }
}
