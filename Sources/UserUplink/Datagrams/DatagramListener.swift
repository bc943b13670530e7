// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// A published UDP port of the host: a socket whose datagrams go to a guest's port, and by which the guest answers.
final class DatagramListener: DatagramSocket {
    /// Bytes that may wait in the socket: bursts of many clients.
    private static let receiveBuffer: Int32 = 1 << 20

    /// The host's address and port.
    let bind: IPAddress
    let hostPort: UInt16
    /// Unspecified while the followed guest has no lease.
    private(set) var guest: IPAddress
    /// The guest to follow, if the port was published for a hardware address or a host name.
    private let followed: FollowedGuest?
    /// The guest's port.
    let port: UInt16

    /// Binds the port of the host.
    init(
        at bind: IPAddress, _ hostPort: UInt16, to guest: IPAddress, _ port: UInt16, following followed: FollowedGuest?
    ) throws(SystemError) {
        let socket = try Socket.udp(ipv6: bind.isIPv6)
        socket.reportDatagrams(ipv6: bind.isIPv6, isLocalReported: true)
        socket.setBuffers(send: 0, receive: DatagramListener.receiveBuffer)
        // Without SO_REUSEADDR, by which another socket could share the port.
        try socket.bind(to: SocketAddress(bind, port: hostPort))
        self.bind = bind
        self.hostPort = hostPort
        self.guest = guest
        self.followed = followed
        self.port = port
        super.init(socket, isIPv6: bind.isIPv6)
    }

    /// A lease was given.
    func note(lease address: IPv4Address, to client: MACAddress, named name: GuestName?) {
        guard let followed else { return }
        guest = followed.address(from: guest, after: address, of: client, named: name)
    }
}
