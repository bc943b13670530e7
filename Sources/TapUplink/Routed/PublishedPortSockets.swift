// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Uplink
import Wire

/// Sockets bound to the published ports of the host, so that another program that binds one gets an error, as this
/// program does if the port is in use. The kernel redirects packets to the guests, so the sockets never receive any.
final class PublishedPortSockets {
    /// A port that could not be bound.
    struct Failure: Error {
        let published: PublishedPort
        let port: UInt16
        let code: Int32
    }

    private struct Key: Hashable {
        let transport: PublishedPort.Transport
        let bind: IPAddress
        let port: UInt16
    }

    private var sockets: [Key: Box<Descriptor>] = [:]

    /// Binds the ports of `published` that are not bound yet, and then closes all others.
    /// - Throws: the port that cannot be bound; nothing has changed then.
    func replace(by published: [PublishedPort]) throws(Failure) {
        var bound: [Key: Box<Descriptor>] = [:]
        for one in published {
            for port in one.ports {
                let key = Key(transport: one.transport, bind: one.bind, port: port)
                if let socket = sockets[key] {
                    bound[key] = socket
                    continue
                }
                do throws(SystemError) {
                    bound[key] = Box(
                        try PublishedPortSockets.bind(one.transport, SocketAddress(one.bind, port: port)))
                } catch {
                    throw Failure(published: one, port: port, code: error.code)
                }
            }
        }
        sockets = bound
    }

    private static func bind(
        _ transport: PublishedPort.Transport, _ address: SocketAddress
    ) throws(SystemError) -> Descriptor {
        switch transport {
        case .tcp:
            let socket = try Socket.tcp(ipv6: !address.isIPv4)
            // Ignores closed connections of the past, but not a listening socket.
            try socket.bind(to: address, reuse: true)
            try socket.listen(backlog: 1)
            return socket
        case .udp:
            let socket = try Socket.udp(ipv6: !address.isIPv4)
            try socket.bind(to: address)
            return socket
        }
    }
}
