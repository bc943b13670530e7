// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Timing
import Wire

/// The destination of a DNS answer.
enum DNSClient: Hashable, Sendable {
    /// The sender of a frame.
    case datagram(DNSDatagramClient)
    /// A connection, by its number.
    case stream(UInt64)
}

/// The sender of a frame with a question.
struct DNSDatagramClient: Hashable, Sendable {
    let hardware: MACAddress
    let address: IPv4Address
    let port: UInt16
}

/// Answers guests' questions for names by asking the host's resolvers. The caller brings the questions and delivers the
/// answers, by frames or by connections.
final class DNSProxy {
    private let loop: ControlLoop
    private let logger: Logger
    private let resolvers: Resolvers
    private var forwarder: DNSForwarder<DNSClient, SocketAddress>
    private var questions: [UInt64: [UpstreamQuery]] = [:]
    private var timer: ControlLoop.TimerID?
    /// Sends an answer to the sender of a frame.
    var onReply: ([UInt8], DNSDatagramClient) -> Void = { _, _ in }
    private(set) lazy var streams = DNSOverTCPProxy(loop: loop, limit: streamLimit) { [unowned self] in
        handle($0, over: .stream, from: .stream($1), of: $2)
        schedule()
    } onEnd: { [unowned self] in
        perform(forwarder.forget(.stream($0)))
        schedule()
    }
    /// Connections of guests at a time.
    let streamLimit: Int

    /// - Parameter descriptors: how many this may open, for connections of guests and to resolvers.
    init(resolvers: Resolvers, descriptors: Int, loop: ControlLoop, logger: Logger) {
        self.resolvers = resolvers
        self.loop = loop
        self.logger = logger
        var limits = DNSForwarder<DNSClient, SocketAddress>.Limits()
        // Of a question two sockets are open at a time, of a guest's connection both ends.
        limits.transactions = max(2, min(limits.transactions, descriptors / 3))
        limits.transactionsPerGuest = max(1, limits.transactions / 2)
        streamLimit = max(2, min(64, descriptors / 6))
        forwarder = DNSForwarder(servers: resolvers.servers, limits: limits)
    }

    /// Takes a message that a guest has sent by UDP.
    func receive(_ message: [UInt8], from asker: DNSDatagramClient, of guest: DNSGuest) {
        handle(message, over: .datagram, from: .datagram(asker), of: guest)
        schedule()
    }

    private func handle(_ query: [UInt8], over transport: DNSTransport, from client: DNSClient, of guest: DNSGuest) {
        switch DNSQueryClassifier(query: query.rawSpan) {
        case .ignore: if case .stream(let number) = client { streams.end(number) }
        case .answer(let answer): reply(answer, to: client)
        case .forward(let question):
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
        case .datagram(let asker): onReply(message, asker)
        case .stream(let number): streams.reply(message, to: number)
        }
    }

    private func perform(_ actions: [DNSForwarder<DNSClient, SocketAddress>.Action]) {
        for action in actions {
            switch action {
            case .reply(let message, let client): reply(message, to: client)
            case .finish(let transaction):
                for question in questions.removeValue(forKey: transaction) ?? [] { question.close() }
            case .ask(let server, let query, let transport, let transaction): ask(server, query, transport, transaction)
            }
        }
    }

    /// Sends a query from a socket of its own, whose port the kernel draws at random.
    private func ask(_ server: SocketAddress, _ query: [UInt8], _ transport: DNSTransport, _ transaction: UInt64) {
        let earlier = questions[transaction] ?? []
        if let same = earlier.first(where: { $0.server == server && !$0.isOver }) { return same.repeatQuery() }
        // The previous server may be slow and still answer.
        for question in earlier.dropLast() { question.close() }
        do throws(SystemError) {
            let question = try UpstreamQuery(query, to: server, over: transport, loop: loop) { [unowned self] in
                perform(forwarder.receive($0, from: server, transaction: transaction, now: BootClock.now))
                schedule()
            } onFailure: { [unowned self] in
                perform(forwarder.unreachable(server, transaction: transaction, now: BootClock.now))
                schedule()
            }
            questions[transaction] = earlier.suffix(1) + [question]
        } catch {
            questions[transaction] = earlier.suffix(1)
            logger.debug("cannot ask \(server): \(error)")
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
