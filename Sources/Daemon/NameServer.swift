// SPDX-License-Identifier: Apache-2.0
import AddressService
import Logging
import Platform
import Wire

/// The gateway's port 53: takes guests' queries by UDP and TCP and forwards them to the host's resolvers.
package final class NameServer {
    /// Bytes of the largest message over UDP (RFC 6891 lets both sides announce up to this).
    private static let maximumMessage = 65_535

    /// A socket that one query was sent from, connected to the resolver it was sent to.
    private final class Question {
        let socket: Descriptor
        let server: Int

        init(socket: consuming Descriptor, server: Int) {
            self.socket = socket
            self.server = server
        }
    }

    private let loop: ControlLoop
    private let logger: Logger
    private let resolvers: Resolvers
    private final class DatagramSocket {
        let descriptor: Descriptor

        init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
    }

    /// nil where queries are brought by somebody else, who takes the answers by `reply`.
    private let socket: DatagramSocket?
    private let streams: NameStreams
    var reply: ([UInt8], SocketAddress) -> Void = { _, _ in }
    private var forwarder: NameForwarder<SocketAddress>
    private var questions: [UInt64: [Question]] = [:]
    private var timer: ControlLoop.TimerID?

    /// Binds UDP and TCP port 53 of `address`.
    /// - Parameter interface: only what arrives there is heard, so that this never becomes a resolver for strangers.
    /// - Throws: "address in use" where the host has a DNS server of its own on all addresses.
    package init(address: IPv4Address, interface: String, resolvers: Resolvers, loop: ControlLoop, logger: Logger) throws(SystemError) {
        let endpoint = SocketAddress(address, port: 53)
        let socket = try UnixSocket.internetDatagram()
        try socket.bind(to: endpoint)
        try socket.bind(toInterface: interface)
        streams = try NameStreams(endpoint: endpoint, interface: interface, resolvers: resolvers, loop: loop)
        let owned = DatagramSocket(socket)
        self.socket = owned
        self.loop = loop
        self.logger = logger
        self.resolvers = resolvers
        forwarder = NameForwarder(servers: resolvers.servers.count)
        reply = { try? owned.descriptor.send($0, to: $1) }
        try loop.watch(owned.descriptor.raw) { [unowned self] _ in receive(owned.descriptor) }
    }

    private init(streams: NameStreams, resolvers: Resolvers, loop: ControlLoop, logger: Logger) {
        socket = nil
        self.streams = streams
        self.loop = loop
        self.logger = logger
        self.resolvers = resolvers
        forwarder = NameForwarder(servers: resolvers.servers.count)
    }

    /// A server for guests behind a user-mode NAT: their datagrams are handed to `receive`, their streams arrive at a port of the host's
    /// loopback address.
    static func onLoopback(resolvers: Resolvers, loop: ControlLoop, logger: Logger) throws(SystemError) -> (server: NameServer, port: UInt16) {
        let streams = try NameStreams.onLoopback(resolvers: resolvers, loop: loop)
        return (NameServer(streams: streams.server, resolvers: resolvers, loop: loop, logger: logger), streams.port)
    }

    private func refresh() {
        if resolvers.refresh() {
            logger.info("the host's resolvers are now: \(resolvers.servers.map(\.description).joined(separator: ", "))")
        }
        forwarder.servers = resolvers.servers.count
    }

    private func receive(_ socket: borrowing Descriptor) {
        refresh()
        // A bounded number at a time: DHCP has its turn in between.
        for _ in 0..<64 {
            guard let (query, client) = try? socket.receiveFrom(limit: NameServer.maximumMessage) else { break }
            handle(query, from: client)
        }
        schedule()
    }

    /// Takes a query that came by another way than our socket.
    func receive(_ query: [UInt8], from client: SocketAddress) {
        refresh()
        handle(query, from: client)
        schedule()
    }

    private func handle(_ query: [UInt8], from client: SocketAddress) {
        switch NameTriage(query: query.rawSpan) {
        case .ignore: break
        case .answer(let answer): reply(answer, client)
        case .forward(let question): perform(forwarder.forward(query, question, from: client, randomID: Random.value(), now: MonotonicClock.now))
        }
    }

    private func perform(_ actions: [NameForwarder<SocketAddress>.Action]) {
        for action in actions {
            switch action {
            case .reply(let message, let client): reply(message, client)
            case .finish(let transaction): finish(transaction)
            case .ask(let server, let query, let transaction):
                do throws(SystemError) {
                    try ask(server, query, transaction)
                } catch {
                    perform(forwarder.unreachable(transaction: transaction, now: MonotonicClock.now))
                }
            }
        }
    }

    /// Sends a query from a socket of its own, whose port the kernel draws at random.
    private func ask(_ server: Int, _ query: [UInt8], _ transaction: UInt64) throws(SystemError) {
        let address = resolvers.servers[server]
        let upstream = try UnixSocket.internetDatagram(ipv6: !address.isIPv4)
        try upstream.connect(to: address)
        _ = try upstream.send(query)
        let question = Question(socket: upstream, server: server)
        try loop.watch(question.socket.raw) { [unowned self, unowned question] _ in receive(question, transaction) }
        questions[transaction, default: []].append(question)
    }

    private func receive(_ question: Question, _ transaction: UInt64) {
        do throws(SystemError) {
            let answer = try question.socket.receive(limit: NameServer.maximumMessage)
            perform(forwarder.receive(answer, from: question.server, transaction: transaction, now: MonotonicClock.now))
        } catch {
            // "Connection refused" comes back by ICMP from a resolver that is not there.
            if error.code != Errno.again { perform(forwarder.unreachable(transaction: transaction, now: MonotonicClock.now)) }
        }
        schedule()
    }

    private func finish(_ transaction: UInt64) {
        for question in questions.removeValue(forKey: transaction) ?? [] { loop.unwatch(question.socket.raw) }
    }

    private func schedule() {
        loop.cancel(timer)
        timer = forwarder.nextDeadline.map { due in
            loop.schedule(at: due) { [unowned self] in
                perform(forwarder.tick(now: MonotonicClock.now))
                schedule()
            }
        }
    }
}
