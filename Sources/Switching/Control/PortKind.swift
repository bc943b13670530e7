// SPDX-License-Identifier: Apache-2.0

/// How a port's descriptor moves frames.
@usableFromInline
package enum PortKind: BitwiseCopyable, Sendable {
    /// A connected datagram socket, one plain frame a datagram: VDE, QEMU dgram, an inherited socket.
    case datagram
    /// A connected stream socket, each plain frame after its length: QEMU stream, socket_vmnet's clients.
    case stream
    /// A connected socket of sequenced packets, one plain frame a packet: user-mode Linux's vector transport `bess`.
    case sequencedPacket
    /// An unconnected datagram socket to which many clients send. It carries no frames itself: each client has a port.
    case datagramListener
    /// A client of such a socket that takes datagrams from that socket alone: sent to by its name.
    case datagramClient
    /// A TAP with 12-byte virtio headers.
    case tap
    /// A packet socket with 10-byte virtio headers.
    case packet
    /// A device without its own descriptor (`FrameDevice`): frames by functions, announced by a wakeup.
    case device
    /// No descriptor: the rings to and from the services.
    case service

    /// The receiver learns when the peer has closed the connection: after the last frame.
    var hasEnd: Bool { self == .stream || self == .sequencedPacket }
}

/// What a port is to the network, which decides which ports it may send to.
@usableFromInline
package enum PortRole: BitwiseCopyable, Sendable {
    /// A guest, or a switch with guests.
    case guest
    /// The port that leads out.
    case uplink
    /// DHCP and address probes, which only guests receive.
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
