// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Timing
import Wire

/// UDP sockets for queries to resolvers. Each is connected to one resolver, so that the kernel accepts packets of no
/// other host (RFC 5452 section 9), from a port that the kernel has chosen at random.
///
/// A new socket for each query costs as much as the query. Several queries share one, and have different ids. A guess
/// of port and id is as likely to be right as with a socket for each query, because only ids of queries under way
/// count. A socket has a bounded number of queries and a bounded time, so that a port that a host has found out is of
/// no use to it.
final class UpstreamSockets {
    /// Queries of one socket.
    private static let queriesPerSocket = 32
    /// Sockets that a server has at a time, besides those that only wait for responses.
    private static let socketsPerServer = 4
    /// How long new queries may leave by a socket.
    private static let lifetime = TimeAmount.seconds(2)
    /// Messages that are received from one socket before other work of the thread.
    private static let burst = 16

    private final class Port {
        let server: SocketAddress
        let socket: Descriptor
        /// When the last query may leave.
        let end: Instant
        var queries = 0
        /// The transactions of queries under way, by id.
        var pending: [UInt16: UInt64] = [:]
        var isClosed = false

        init(_ socket: consuming Descriptor, _ server: SocketAddress, end: Instant) {
            self.socket = socket
            self.server = server
            self.end = end
        }

        func isOpen(at now: Instant) -> Bool { queries < UpstreamSockets.queriesPerSocket && now < end }
    }

    private let loop: ControlLoop
    private let limit: Int
    private let outbound: (SocketAddress) -> Outbound?
    private let onResponse: ([UInt8], SocketAddress, UInt64) -> Void
    private let onFailure: (SocketAddress, UInt64) -> Void
    private let onEventEnd: () -> Void
    private var ports: [Port] = []
    private var sent: [UInt64: [(port: Port, id: UInt16)]] = [:]
    /// For one message. Networks whose guests resolve nothing do without.
    private lazy var buffer = [UInt8](repeating: 0, count: DNSMessage.maximumLength)
    private var timer: ControlLoop.TimerID?

    /// - Parameters:
    ///   - limit: sockets at a time.
    ///   - onResponse: called with each message that has the id of a query under way, its sender, and the query's
    ///     transaction. A host that can send from the server's address can forge it.
    ///   - onFailure: called for each query under way to a server when it is unreachable.
    ///   - onEventEnd: called after a number of messages or failures.
    ///   - outbound: the outbound path to a server; nil: the system's routes.
    init(
        loop: ControlLoop, limit: Int, onResponse: @escaping ([UInt8], SocketAddress, UInt64) -> Void,
        onFailure: @escaping (SocketAddress, UInt64) -> Void, onEventEnd: @escaping () -> Void,
        outbound: @escaping (SocketAddress) -> Outbound? = { _ in nil }
    ) {
        self.loop = loop
        self.limit = limit
        self.outbound = outbound
        self.onResponse = onResponse
        self.onFailure = onFailure
        self.onEventEnd = onEventEnd
    }

    /// Open sockets.
    var count: Int { ports.count }

    /// Sends a query. The second one of a transaction to the same server leaves from the same port, because the first
    /// one may have been lost.
    func send(_ query: [UInt8], to server: SocketAddress, of transaction: UInt64) throws(SystemError) {
        let id = query.rawSpan.big16(at: DNSView.Field.id)
        if let earlier = sent[transaction]?.first(where: { $0.port.server == server && !$0.port.isClosed }) {
            _ = try earlier.port.socket.send(query)
            return
        }
        let port = try port(to: server, id)
        do throws(SystemError) {
            _ = try port.socket.send(query)
        } catch {
            // The failure may be that of an earlier query (ICMP "port unreachable").
            fail(port)
            throw error
        }
        port.queries += 1
        port.pending[id] = transaction
        sent[transaction, default: []].append((port, id))
    }

    /// No response to this transaction's queries is needed any more.
    func close(_ transaction: UInt64) {
        for (port, id) in sent.removeValue(forKey: transaction) ?? [] {
            port.pending[id] = nil
            if port.pending.isEmpty, port.queries >= UpstreamSockets.queriesPerSocket { close(port) }
        }
    }

    private func port(to server: SocketAddress, _ id: UInt16) throws(SystemError) -> Port {
        let now = BootClock.now
        var usable: [Port] = [], spare: Port?
        for port in ports where port.server == server && port.pending[id] == nil {
            if port.isOpen(at: now) { usable.append(port) } else { spare = port }
        }
        if usable.count < UpstreamSockets.socketsPerServer, ports.count < limit {
            return try open(server, now)
        }
        // The id is random.
        if !usable.isEmpty { return usable[Int(id) % usable.count] }
        if let spare { return spare }
        throw SystemError(code: Errno.noBuffers, "query", server.description)
    }

    private func open(_ server: SocketAddress, _ now: Instant) throws(SystemError) -> Port {
        let socket = try Socket.udp(ipv6: !server.isIPv4)
        if let outbound = outbound(server) { try outbound.bind(socket, ipv6: !server.isIPv4) }
        try socket.connect(to: server)
        let port = Port(socket, server, end: now + UpstreamSockets.lifetime)
        try loop.watch(port.socket.raw) { [unowned self, unowned port] _ in receive(port) }
        ports.append(port)
        if timer == nil { scheduleSweep() }
        return port
    }

    private func receive(_ port: Port) {
        defer { onEventEnd() }
        for _ in 0..<UpstreamSockets.burst {
            do throws(SystemError) {
                let count = try port.socket.receive(into: &buffer)
                guard count >= DNSView.headerLength,
                    let transaction = port.pending[buffer.rawSpan.big16(at: DNSView.Field.id)]
                else { continue }
                onResponse(Array(buffer[..<count]), port.server, transaction)
            } catch {
                // ECONNREFUSED reports an ICMP "port unreachable": the host has no resolver.
                if error.code != Errno.again { fail(port) }
                return
            }
            // Most events are one message. What is left is reported again.
            if port.isClosed || port.pending.isEmpty { return }
        }
    }

    private func fail(_ port: Port) {
        let failed = port.pending.values.sorted()
        close(port)
        for transaction in failed { onFailure(port.server, transaction) }
    }

    private func close(_ port: Port) {
        if port.isClosed { return }
        port.isClosed = true
        loop.unwatch(port.socket.raw)
        ports.removeAll { $0 === port }
    }

    /// Closes sockets without queries under way whose time is over.
    private func scheduleSweep() {
        timer = loop.schedule(after: UpstreamSockets.lifetime) { [unowned self] in
            let now = BootClock.now
            for port in ports where port.pending.isEmpty && !port.isOpen(at: now) { close(port) }
            timer = nil
            if !ports.isEmpty { scheduleSweep() }
        }
    }

    deinit {
        loop.cancel(timer)
        for port in ports { close(port) }
    }
}
