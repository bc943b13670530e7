// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import NetworkModel
import Platform
import Uplink
import Wire

/// Sockets bound to the published ports of the host, so that another program that binds one gets an error, as this
/// program does if the port is in use. The kernel redirects packets to the guests, so the sockets never receive any.
final class PublishedPortSockets {
    private var sockets: [Box<Descriptor>] = []

    /// - Throws: the port that cannot be bound, and why.
    init(_ published: [PublishedPort]) throws(ExitError) {
        for one in published {
            for port in one.ports {
                do throws(SystemError) {
                    sockets.append(
                        Box(try PublishedPortSockets.bind(one.transport, SocketAddress(one.bind, port: port))))
                } catch {
                    throw ExitError.publishing(one, port: port, errno: error.code)
                }
            }
        }
    }

    private static func bind(
        _ transport: PublishedPort.Transport, _ address: SocketAddress
    ) throws(SystemError) -> Descriptor {
        switch transport {
        case .tcp:
            let socket = try Socket.tcp()
            // Ignores closed connections of the past, but not a listening socket.
            try socket.bind(to: address, reuse: true)
            try socket.listen(backlog: 1)
            return socket
        case .udp:
            let socket = try Socket.udp()
            try socket.bind(to: address)
            return socket
        }
    }
}
