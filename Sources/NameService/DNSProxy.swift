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
    /// An IPv4 address is in the low bits.
    let address: IPv6Address
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
    /// Responses before the policy has judged them: each guest that gets one needs its own pins.
    private var cache: DNSCache?
    private lazy var sockets = UpstreamSockets(loop: loop, limit: socketLimit) { [unowned self] in
        perform(forwarder.receive($0, from: $1, over: .datagram, transaction: $2, now: BootClock.now))
    } onFailure: { [unowned self] in
        perform(forwarder.unreachable($0, transaction: $1, now: BootClock.now))
    } onEventEnd: { [unowned self] in
        endEvent()
    } outbound: { [unowned self] in
        way(to: $0)
    }
    /// Queries over TCP.
    private var streams: [UInt64: [UpstreamQuery]] = [:]
    private var timer: ControlLoop.TimerID?
    private var randomIDs: [UInt16] = []
    /// Sends a response over UDP, at `onRepliesEnd` at the latest.
    var onReply: ([UInt8], DNSDatagramClient) -> Void = { _, _ in }
    /// Called after all responses of an event.
    var onRepliesEnd: () -> Void = {}
    private(set) lazy var connections = DNSOverTCPProxy(loop: loop, limit: connectionLimit) { [unowned self] in
        handle($0, over: .stream, from: .stream($1), of: $2)
        endEvent()
    } onEnd: { [unowned self] in
        perform(forwarder.removeClient(.stream($0)))
        endEvent()
    }
    /// TCP connections of guests at a time.
    let connectionLimit: Int
    /// UDP sockets to resolvers at a time, and TCP connections to them.
    private let socketLimit: Int
    /// The outbound path to the servers that the user has chosen; nil: the system's routes.
    private let outbound: Outbound?

    /// - Parameters:
    ///   - names: what is not forwarded.
    ///   - policy: what guests may resolve.
    ///   - cachesNames: whether responses are kept.
    ///   - descriptors: how many descriptors the proxy may open, for connections of guests and to resolvers.
    ///   - outbound: the outbound path to the servers that the user has chosen; nil: the system's routes.
    init(
        resolvers: Resolvers, names: LocalNames, policy: NamePolicy, cachesNames: Bool, descriptors: Int,
        outbound: Outbound? = nil, loop: ControlLoop, logger: Logger
    ) {
        self.resolvers = resolvers
        self.outbound = outbound
        self.names = names
        self.policy = policy
        self.loop = loop
        self.logger = logger
        cache = cachesNames ? DNSCache() : nil
        // A guest's connection has a descriptor at both of its ends.
        connectionLimit = max(2, min(64, descriptors / 6))
        socketLimit = max(4, min(128, descriptors / 4))
        var limits = DNSForwarder<DNSClient, SocketAddress>.Limits()
        limits.streams = socketLimit / 2
        forwarder = DNSForwarder(servers: resolvers.servers, limits: limits)
    }

    /// Handles a query that a guest sent over UDP. The caller calls `endEvent` after the last one of several.
    func receive(_ message: [UInt8], from client: DNSDatagramClient, of guest: DNSGuest) {
        handle(message, over: .datagram, from: .datagram(client), of: guest)
    }

    /// Sends what the last events have left to send, and sets the timer.
    func endEvent() {
        connections.flush()
        onRepliesEnd()
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
            refreshResolvers()
            if let response = cachedResponse(to: query, over: transport) {
                return reply(policy.admit(response, for: hardware(of: client)), to: client)
            }
            forwarder.servers = resolvers.servers
            forwarder.routes = resolvers.routes
            perform(
                forwarder.forward(
                    query, question, over: transport, from: client, of: guest, randomID: randomID(),
                    now: BootClock.now))
        }
    }

    /// Takes over the host's resolvers as they are now.
    private func refreshResolvers() {
        guard resolvers.refresh() else { return }
        cache?.removeAll()
        forwarder.separateNewQueries()
        let servers = resolvers.servers.map(\.description) + resolvers.domainServers
        let names = servers.isEmpty ? "none" : servers.joined(separator: ", ")
        logger.info("the host's resolvers are now: \(names)")
    }

    /// The servers that queries go to now, and those of single domains.
    var servers: (all: [SocketAddress], ofDomains: [String]) {
        refreshResolvers()
        return (resolvers.servers, resolvers.domainServers)
    }

    /// A random id. A call of the kernel gives four.
    private func randomID() -> UInt16 {
        if randomIDs.isEmpty {
            let bits: UInt64 = Random.value()
            for index in 0..<4 { randomIDs.append(UInt16(truncatingIfNeeded: bits >> (16 * UInt64(index)))) }
        }
        return randomIDs.removeLast()
    }

    private func cachedResponse(to query: [UInt8], over transport: DNSTransport) -> [UInt8]? {
        guard cache != nil, let key = DNSCache.Key(query), let view = try? DNSView(query.rawSpan),
            let response = cache?.response(to: query, key, now: BootClock.now)
        else { return nil }
        return response.count <= view.longestResponse(over: transport) ? response : DNSMessage.truncated(response)
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
            case .keep(let response, let query, let guest):
                guard cache != nil, let key = DNSCache.Key(query) else { break }
                cache?.store(response, key, of: guest, now: BootClock.now)
            case .close(let transaction):
                sockets.close(transaction)
                for query in streams.removeValue(forKey: transaction) ?? [] { query.close() }
            case .send(let server, let query, let transport, let transaction):
                send(query, to: server, over: transport, transaction)
            }
        }
    }

    private func send(
        _ query: [UInt8], to server: SocketAddress, over transport: DNSTransport, _ transaction: UInt64
    ) {
        do throws(SystemError) {
            switch transport {
            case .datagram: try sockets.send(query, to: server, of: transaction)
            case .stream: try sendByStream(query, to: server, transaction)
            }
        } catch {
            logger.debug("cannot query \(server): \(error)")
            perform(forwarder.unreachable(server, transaction: transaction, now: BootClock.now))
        }
    }

    private func sendByStream(
        _ query: [UInt8], to server: SocketAddress, _ transaction: UInt64
    ) throws(SystemError) {
        let earlier = streams[transaction] ?? []
        if earlier.contains(where: { $0.server == server && !$0.isClosed }) { return }
        // The previous server may still answer.
        for older in earlier.dropLast() { older.close() }
        streams[transaction] = earlier.suffix(1)
        let new = try UpstreamQuery(query, to: server, by: way(to: server), loop: loop) { [unowned self] in
            perform(forwarder.receive($0, from: server, over: .stream, transaction: transaction, now: BootClock.now))
            endEvent()
        } onFailure: { [unowned self] in
            perform(forwarder.unreachable(server, transaction: transaction, now: BootClock.now))
            endEvent()
        }
        streams[transaction]?.append(new)
    }

    /// The outbound path to a server: the chosen one to the servers of `--dns`, unless they are on this host. The
    /// host's own resolvers belong to its networks, which another path may not lead to.
    private func way(to server: SocketAddress) -> Outbound? {
        guard let outbound, resolvers.isChosen(server) else { return nil }
        let address = server.address
        return address.isLoopback || Outbound.hostAddresses().contains(address) ? nil : outbound
    }

    /// Sets the timer of the first deadline. A later query has a later deadline, so that a timer that is set stays.
    private func schedule() {
        guard timer == nil else { return }
        timer = forwarder.nextDeadline.map { due in
            loop.schedule(at: due) { [unowned self] in
                timer = nil
                perform(forwarder.tick(now: BootClock.now))
                endEvent()
            }
        }
    }
}
