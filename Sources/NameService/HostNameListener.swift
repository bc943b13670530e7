// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import Platform
import Wire

/// Answers the host's own queries for guests' names, over UDP and TCP at a loopback address. Programs of the host
/// cannot send to the gateway's port 53, because no socket is there (`DNSGateway`). Other names are refused, so that a
/// resolver of the host that queries this one never gets its own query back.
package final class HostNameListener {
    /// Datagrams that are answered before other work of the thread.
    private static let burst = 64
    /// TCP connections at a time. One more closes the connection that was idle for longest.
    private static let connectionLimit = 16
    /// All programs of the host have one share.
    private static let host = DNSGuest(address: .any)

    private let datagrams: Descriptor
    private let names: LocalNames
    private let loop: ControlLoop
    private var acceptLoop: AcceptLoop?
    private lazy var connections: DNSOverTCPProxy = DNSOverTCPProxy(
        loop: loop, limit: HostNameListener.connectionLimit, share: HostNameListener.connectionLimit
    ) { [unowned self] query, number, _ in
        if let response = names.responseToHost(query, over: .stream) {
            connections.reply(response, to: number)
        } else {
            connections.end(number)
        }
    } onEnd: { _ in
    }

    /// - Parameters:
    ///   - address: a loopback address and a port.
    ///   - names: the names of guests.
    /// - Throws: `unavailable` if another program uses the port.
    package init(at address: SocketAddress, names: LocalNames, loop: ControlLoop, logger: Logger) throws(ExitError) {
        self.names = names
        self.loop = loop
        do throws(SystemError) {
            datagrams = try Socket.udp(ipv6: !address.isIPv4)
            // Bursts of queries wait here.
            datagrams.setBuffers(send: 1 << 20, receive: 1 << 20)
            try datagrams.bind(to: address)
            let stream = try Socket.tcp(ipv6: !address.isIPv4)
            try stream.bind(to: address, reuse: true)
            try stream.listen()
            acceptLoop = try AcceptLoop(
                stream, cost: 1, of: ClientQuota(limit: HostNameListener.connectionLimit), loop: loop,
                onExhaustion: { logger.warning("--host-dns accepts no connection over TCP: \($0)") },
                onClient: { [unowned self] client, _ in connections.accept(client, of: HostNameListener.host) })
            try loop.watch(datagrams.raw) { [unowned self] _ in receive() }
        } catch {
            throw ExitError(.unavailable, "--host-dns \(address): \(error.description); choose another port")
        }
    }

    private func receive() {
        for _ in 0..<HostNameListener.burst {
            do throws(SystemError) {
                let (query, sender) = try datagrams.receiveFrom(limit: DNSMessage.maximumLength)
                guard let response = names.responseToHost(query, over: .datagram) else { continue }
                // A client repeats a query whose response is lost.
                try datagrams.send(response, to: sender)
            } catch {
                return
            }
        }
    }

    /// Stops to answer.
    package func close() {
        loop.unwatch(datagrams.raw)
        acceptLoop?.close()
        connections.endAll()
    }
}
