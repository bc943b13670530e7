// SPDX-License-Identifier: Apache-2.0
import Wire

/// What becomes of a DNS query.
package enum NameTriage: Equatable, Sendable {
    /// We know the answer, or that there is none to be had.
    case answer([UInt8])
    /// One of the host's resolvers is to be asked.
    case forward(DNSQuestion)
    /// Not a query: no answer, so that two servers can never answer each other for ever.
    case ignore

    private static let localhost = DNSName("localhost")!

    /// Judges a message that a client sent. `localhost` and names below it are answered here and never leave the host (RFC 6761 section 6.3).
    package init(query: RawSpan) {
        guard let message = try? DNSView(query), !message.isResponse else {
            self = .ignore
            return
        }
        guard message.operation == 0 else {
            self = .answer(DNSMessage.failure(id: message.id, wantsRecursion: message.wantsRecursion, question: nil, code: .notImplemented))
            return
        }
        guard let question = try? message.question() else {
            self = .answer(DNSMessage.failure(id: message.id, wantsRecursion: message.wantsRecursion, question: nil, code: .formatError))
            return
        }
        guard question.name.isWithin(NameTriage.localhost) else {
            self = .forward(question)
            return
        }
        let records: [[UInt8]] =
            switch question.type {
            case DNSType.a: [[127, 0, 0, 1]]
            case DNSType.aaaa: [[UInt8](repeating: 0, count: 15) + [1]]
            default: []
            }
        self = .answer(DNSMessage.answer(id: message.id, wantsRecursion: message.wantsRecursion, question: question, records: records, timeToLive: 3600))
    }
}

/// Forwards DNS queries that came by UDP to the host's resolvers, and answers back (RFC 5625): a new random id for each query, several
/// servers in turn, a failure to the client when all are silent. The caller gives each transaction a socket of its own, hence a random
/// port, connected to the server, so that nobody else can answer it (RFC 5452).
package struct NameForwarder<Client: Hashable & Sendable>: Sendable {
    package enum Action: Sendable {
        /// Send `query` to the resolver number `server`, from a new socket that belongs to `transaction`.
        case ask(server: Int, query: [UInt8], transaction: UInt64)
        case reply([UInt8], to: Client)
        /// Close the transaction's sockets.
        case finish(transaction: UInt64)
    }

    private struct Transaction: Sendable {
        let client: Client
        let clientID: UInt16
        let wantsRecursion: Bool
        let question: DNSQuestion
        let query: [UInt8]
        var upstreamID: UInt16
        var attempts = 0
        var due: UInt64
    }

    /// Queries under way at a time; more are refused by silence, and clients ask again.
    package static var maximumTransactions: Int { 256 }
    /// How long a resolver may take before the next is asked as well, in nanoseconds.
    private static var patience: UInt64 { 1_500_000_000 }
    private static var maximumAttempts: Int { 4 }

    /// How many resolvers there are; 0 makes every query fail at once.
    package var servers: Int {
        didSet { if preferred >= servers { preferred = 0 } }
    }
    /// The resolver that answered last is asked first.
    private var preferred = 0
    private var transactions: [UInt64: Transaction] = [:]
    private var nextTransaction: UInt64 = 0

    package init(servers: Int) { self.servers = servers }

    package var nextDeadline: UInt64? { transactions.values.map(\.due).min() }

    /// Takes a query that is to be forwarded.
    /// - Parameter randomID: a fresh random number.
    package mutating func forward(_ query: [UInt8], _ question: DNSQuestion, from client: Client, randomID: UInt16, now: UInt64) -> [Action] {
        guard let message = try? DNSView(query.rawSpan) else { return [] }
        let id = message.id, wantsRecursion = message.wantsRecursion
        // The client's own repetition: we are at it.
        if transactions.values.contains(where: { $0.client == client && $0.clientID == id && $0.question == question }) { return [] }
        guard servers > 0 else {
            return [.reply(DNSMessage.failure(id: id, wantsRecursion: wantsRecursion, question: question, code: .serverFailure), to: client)]
        }
        guard transactions.count < Self.maximumTransactions else { return [] }
        let number = nextTransaction
        nextTransaction += 1
        transactions[number] = Transaction(
            client: client, clientID: id, wantsRecursion: wantsRecursion, question: question, query: query, upstreamID: randomID, due: now)
        return ask(number, now: now)
    }

    private mutating func ask(_ number: UInt64, now: UInt64) -> [Action] {
        guard var transaction = transactions[number] else { return [] }
        guard servers > 0 else { return fail(number) }
        let server = (preferred + transaction.attempts) % servers
        transaction.attempts += 1
        transaction.due = now + Self.patience
        transactions[number] = transaction
        var query = transaction.query
        query[0] = UInt8(transaction.upstreamID >> 8)
        query[1] = UInt8(truncatingIfNeeded: transaction.upstreamID)
        return [.ask(server: server, query: query, transaction: number)]
    }

    /// Takes what a transaction's socket received. Anything but the answer to the question asked is ignored.
    package mutating func receive(_ answer: [UInt8], from server: Int, transaction number: UInt64, now: UInt64) -> [Action] {
        guard let transaction = transactions[number], let message = try? DNSView(answer.rawSpan), message.isResponse,
            message.id == transaction.upstreamID
        else { return [] }
        // A server that refuses to read the query may leave out the question.
        let question = try? message.question()
        guard question == transaction.question || (message.questionCount == 0 && message.responseCode != 0) else { return [] }
        // A resolver that cannot help, where there is another: RFC 1035 section 7.2 goes on to the next.
        let code = message.responseCode
        let isRefusal = code == DNSResponseCode.serverFailure.rawValue || code == DNSResponseCode.refused.rawValue
        if isRefusal && transaction.attempts < min(servers, Self.maximumAttempts) {
            return ask(number, now: now)
        }
        if !isRefusal { preferred = server }
        transactions[number] = nil
        var reply = answer
        reply[0] = UInt8(transaction.clientID >> 8)
        reply[1] = UInt8(truncatingIfNeeded: transaction.clientID)
        return [.reply(reply, to: transaction.client), .finish(transaction: number)]
    }

    /// The resolver cannot be reached at all: the next is asked at once.
    package mutating func unreachable(transaction number: UInt64, now: UInt64) -> [Action] {
        guard let transaction = transactions[number] else { return [] }
        return transaction.attempts < min(servers, Self.maximumAttempts) ? ask(number, now: now) : fail(number)
    }

    package mutating func tick(now: UInt64) -> [Action] {
        var actions: [Action] = []
        for (number, transaction) in transactions where transaction.due <= now {
            actions += transaction.attempts < Self.maximumAttempts ? ask(number, now: now) : fail(number)
        }
        return actions
    }

    private mutating func fail(_ number: UInt64) -> [Action] {
        guard let transaction = transactions.removeValue(forKey: number) else { return [] }
        let failure = DNSMessage.failure(
            id: transaction.clientID, wantsRecursion: transaction.wantsRecursion, question: transaction.question, code: .serverFailure)
        return [.reply(failure, to: transaction.client), .finish(transaction: number)]
    }
}
