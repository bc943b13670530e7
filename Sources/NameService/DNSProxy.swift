// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NetworkModel
import Platform
import Timing
import Wire

/// The destination of a DNS response.
enum DNSClient: Hashable, Sendable {
    /// The sender of a UDP datagram.
    case datagram(DNSDatagramClient)
    /// A TCP connection, by its number.
    case stream(UInt64)
}

/// The sender of a query over UDP.
struct DNSDatagramClient: Hashable, Sendable {
    let hardware: MACAddress
    let address: IPv4Address
    let port: UInt16
}

/// Answers the DNS queries of guests with the host's resolvers. It connects the state machine (`DNSForwarder`) to
/// sockets and timers on the control thread. The caller passes in queries over UDP and connections, and sends the
/// responses over UDP.
final class DNSProxy {
    private let loop: ControlLoop
    private let logger: Logger
    private let resolvers: Resolvers
    private let names: LocalNames
    private let policy: NamePolicy
    private var forwarder: DNSForwarder<DNSClient, SocketAddress>
    private var upstream: [UInt64: [UpstreamQuery]] = [:]
    private var timer: ControlLoop.TimerID?
    /// Sends a response over UDP.
    var onReply: ([UInt8], DNSDatagramClient) -> Void = { _, _ in }
    private(set) lazy var connections = DNSOverTCPProxy(loop: loop, limit: connectionLimit) { [unowned self] in
        handle($0, over: .stream, from: .stream($1), of: $2)
        schedule()
    } onEnd: { [unowned self] in
        perform(forwarder.removeClient(.stream($0)))
        schedule()
    }
    /// TCP connections of guests at a time.
    let connectionLimit: Int

    /// - Parameters:
    ///   - names: what is not forwarded.
    ///   - policy: what guests may resolve.
    ///   - descriptors: how many descriptors the proxy may open, for connections of guests and to resolvers.
    init(
        resolvers: Resolvers, names: LocalNames, policy: NamePolicy, descriptors: Int, loop: ControlLoop,
        logger: Logger
    ) {
        self.resolvers = resolvers
        self.names = names
        self.policy = policy
        self.loop = loop
        self.logger = logger
        var limits = DNSForwarder<DNSClient, SocketAddress>.Limits()
        // A transaction has two sockets at a time; a guest's connection has a descriptor at both of its ends.
        limits.transactions = max(2, min(limits.transactions, descriptors / 3))
        limits.transactionsPerGuest = max(1, limits.transactions / 2)
        connectionLimit = max(2, min(64, descriptors / 6))
        forwarder = DNSForwarder(servers: resolvers.servers, limits: limits)
    }

    /// Handles a query that a guest sent over UDP.
    func receive(_ message: [UInt8], from client: DNSDatagramClient, of guest: DNSGuest) {
        handle(message, over: .datagram, from: .datagram(client), of: guest)
        schedule()
    }

    private func handle(_ query: [UInt8], over transport: DNSTransport, from client: DNSClient, of guest: DNSGuest) {
        switch DNSQueryClassifier.classify(query.rawSpan) {
        case .ignore: if case .stream(let number) = client { connections.end(number) }
        case .answer(let response): reply(response, to: client)
        case .forward(let question):
            let isExempt = !policy.egress.restrictsNames || names.owns(question)
            if !isExempt, let response = policy.response(to: query, question, from: hardware(of: client)) {
                return reply(response, to: client)
            }
            if let response = names.response(to: query, question, over: transport) {
                return reply(isExempt ? response : policy.admit(response, for: hardware(of: client)), to: client)
            }
            if resolvers.refresh() {
                logger.info(
                    "the host's resolvers are now: \(resolvers.servers.map(\.description).joined(separator: ", "))")
            }
            forwarder.servers = resolvers.servers
            perform(
                forwarder.forward(
                    query, question, over: transport, from: client, of: guest, randomID: Random.value(),
                    now: BootClock.now))
        }
    }

    private func reply(_ message: [UInt8], to client: DNSClient) {
        switch client {
        case .datagram(let sender): onReply(message, sender)
        case .stream(let number): connections.reply(message, to: number)
        }
    }

    private func hardware(of client: DNSClient) -> MACAddress? {
        switch client {
        case .datagram(let sender): sender.hardware
        case .stream(let number): connections.hardware(of: number)
        }
    }

    private func perform(_ actions: [DNSForwarder<DNSClient, SocketAddress>.Action]) {
        for action in actions {
            switch action {
            case .reply(let message, let client):
                reply(policy.admit(message, for: hardware(of: client)), to: client)
            case .close(let transaction):
                for query in upstream.removeValue(forKey: transaction) ?? [] { query.close() }
            case .send(let server, let query, let transport, let transaction):
                send(query, to: server, over: transport, transaction)
            }
        }
    }

    /// Sends a query from a new socket, whose port the kernel chooses at random.
    private func send(
        _ query: [UInt8], to server: SocketAddress, over transport: DNSTransport, _ transaction: UInt64
    ) {
        let earlier = upstream[transaction] ?? []
        if let same = earlier.first(where: { $0.server == server && !$0.isClosed }) { return same.sendAgain() }
        // The previous server may still answer.
        for older in earlier.dropLast() { older.close() }
        do throws(SystemError) {
            let new = try UpstreamQuery(query, to: server, over: transport, loop: loop) { [unowned self] in
                perform(forwarder.receive($0, from: server, transaction: transaction, now: BootClock.now))
                schedule()
            } onFailure: { [unowned self] in
                perform(forwarder.unreachable(server, transaction: transaction, now: BootClock.now))
                schedule()
            }
            upstream[transaction] = earlier.suffix(1) + [new]
        } catch {
            upstream[transaction] = earlier.suffix(1)
            logger.debug("cannot query \(server): \(error)")
            perform(forwarder.unreachable(server, transaction: transaction, now: BootClock.now))
        }
    }

    private func schedule() {
        loop.cancel(timer)
        timer = forwarder.nextDeadline.map { due in
            loop.schedule(at: due) { [unowned self] in
                perform(forwarder.tick(now: BootClock.now))
                schedule()
            }
        }
    }
}
