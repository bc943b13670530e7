// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// How a query came, which is how it is passed on: an answer that is too long for UDP is asked for again by TCP.
package enum DNSTransport: Hashable, Sendable {
    case datagram, stream
}

/// Forwards DNS queries to the host's resolvers, and answers back (RFC 5625), wherever the queries come from: a new
/// random id for each (RFC 5452), several servers in turn, a failure to the client when all are silent or refuse. What
/// is known of the servers counts for UDP and TCP alike.
///
/// A query for which the same is being asked already waits for that answer. Each guest has a share of what there is;
/// beyond it, it is refused.
///
/// The caller gives each transaction sockets of its own, hence random ports, connected to the server, so that no other
/// can answer it.
package struct DNSForwarder<Client: Hashable & Sendable, Server: Hashable & Sendable>: Sendable {
    package enum Action: Sendable {
        /// Send `query` to `server`, from a socket that belongs to `transaction`. Only the sockets of the two servers
        /// asked last are of use.
        case ask(Server, query: [UInt8], over: DNSTransport, transaction: UInt64)
        case reply([UInt8], to: Client)
        /// Close the transaction's sockets.
        case finish(transaction: UInt64)
    }

    package struct Limits: Sendable {
        /// Questions under way at a time, of all guests and of one.
        package var transactions = 128
        package var transactionsPerGuest = 64
        /// Queries that wait for them.
        package var waiting = 1024
        package var waitingPerGuest = 128

        package init() {}
    }

    private struct Waiter: Sendable {
        let client: Client
        let id: UInt16
        let guest: DNSGuest
    }

    /// Queries whose answer is the same to the last bit.
    private struct Key: Hashable, Sendable {
        let transport: DNSTransport
        /// Without the id.
        let query: ArraySlice<UInt8>
    }

    private struct Transaction: Sendable {
        let key: Key
        let question: DNSQuestion
        let query: [UInt8]
        let upstreamID: UInt16
        /// In whose share it counts.
        let owner: DNSGuest
        /// Bytes of the longest answer that its clients take.
        let longestAnswer: Int
        var waiters: [Waiter]
        /// In order, with repetitions.
        var asked: [Server] = []
        /// Those that cannot help.
        var failed: [Server] = []
        /// What the last of them has answered.
        var refusal: [UInt8]?
        var due: Instant
    }

    /// How long a resolver may take before the next is asked as well, in nanoseconds. Three times that is less than the
    /// five seconds after which clients ask again or elsewhere (resolver(5)), so that they get an answer in any case.
    private static var retryInterval: TimeAmount { .milliseconds(1500) }
    private static var maximumAttempts: Int { 3 }

    /// The resolvers; none makes every query fail at once.
    package var servers: [Server]
    private let limits: Limits
    /// The resolver that answered last is asked first.
    private var preferred: Server?
    private var transactions: [UInt64: Transaction] = [:]
    private var numbers: [Key: UInt64] = [:]
    private var owned = GuestShares()
    private var waiting = GuestShares()
    private var nextTransaction: UInt64 = 0

    package init(servers: [Server], limits: Limits = Limits()) {
        self.servers = servers
        self.limits = limits
    }

    package var nextDeadline: Instant? { transactions.values.lazy.map(\.due).min() }

    /// Questions under way, and queries that wait for them.
    package var load: (transactions: Int, waiting: Int) { (transactions.count, waiting.count) }

    // MARK: Queries

    /// Takes a query that is to be forwarded.
    /// - Parameter randomID: a fresh random number.
    package mutating func forward(
        _ query: [UInt8], _ question: DNSQuestion, over transport: DNSTransport = .datagram, from client: Client,
        of guest: DNSGuest, randomID: UInt16,
        now: Instant
    ) -> [Action] {
        guard let message = try? DNSView(query.rawSpan) else { return [] }
        let waiter = Waiter(client: client, id: message.id, guest: guest)
        let key = Key(transport: transport, query: query[2...])
        if let number = numbers[key], let transaction = transactions[number] {
            // The client's own repetition: we are at it.
            if transaction.waiters.contains(where: { $0.client == client && $0.id == waiter.id }) { return [] }
            return join(number, waiter, query)
        }
        guard !servers.isEmpty else {
            return [.reply(DNSMessage.failure(of: message, code: .serverFailure), to: client)]
        }
        guard waiting.held(by: guest) < limits.waitingPerGuest, owned.held(by: guest) < limits.transactionsPerGuest,
            let evicted = makeRoom(for: guest)
        else {
            return [.reply(DNSMessage.failure(of: message, code: .refused), to: client)]
        }
        let size =
            transport == .stream
            ? Int(UInt16.max)
            : max(ExtendedDNS.minimumPayload, Int(((try? message.extended()) ?? nil)?.payloadSize ?? 0))
        let number = nextTransaction
        nextTransaction += 1
        numbers[key] = number
        transactions[number] = Transaction(
            key: key, question: question, query: query, upstreamID: randomID, owner: guest, longestAnswer: size,
            waiters: [waiter], due: now)
        owned.add(guest)
        waiting.add(guest)
        return evicted + ask(number, now: now)
    }

    /// Lets a query wait for the answer to the same one.
    private mutating func join(_ number: UInt64, _ waiter: Waiter, _ query: [UInt8]) -> [Action] {
        guard waiting.held(by: waiter.guest) < limits.waitingPerGuest,
            let evicted = makeRoomToWait(for: waiter.guest, besides: number)
        else {
            return [.reply(failure(query, .refused), to: waiter.client)]
        }
        transactions[number]?.waiters.append(waiter)
        waiting.add(waiter.guest)
        return evicted
    }

    /// Makes room for one more transaction. Returns what that takes; nil if `guest` has its share.
    private mutating func makeRoom(for guest: DNSGuest) -> [Action]? {
        var actions: [Action] = []
        if transactions.count >= limits.transactions {
            guard let victim = owned.victim(for: guest),
                let oldest = transactions.filter({ $0.value.owner == victim }).keys.min()
            else { return nil }
            actions = end(oldest, .refused)
        }
        return makeRoomToWait(for: guest, besides: nil).map { actions + $0 }
    }

    /// Makes room for one more query that waits.
    /// - Parameter number: the transaction that it is to wait for, which must stay.
    private mutating func makeRoomToWait(for guest: DNSGuest, besides number: UInt64?) -> [Action]? {
        guard waiting.count >= limits.waiting else { return [] }
        guard let victim = waiting.victim(for: guest) else { return nil }
        let places = transactions.filter { $0.key != number && $0.value.waiters.contains { $0.guest == victim } }
        guard let oldest = places.keys.min(),
            let place = transactions[oldest]?.waiters.firstIndex(where: { $0.guest == victim })
        else { return nil }
        let waiter = transactions[oldest]!.waiters[place]
        return [.reply(failure(transactions[oldest]!.query, .refused, id: waiter.id), to: waiter.client)]
            + leave(oldest, at: place)
    }

    /// The client has gone.
    package mutating func forget(_ client: Client) -> [Action] {
        var actions: [Action] = []
        for number in transactions.keys.sorted() {
            while let place = transactions[number]?.waiters.firstIndex(where: { $0.client == client }) {
                actions += leave(number, at: place)
            }
        }
        return actions
    }

    /// A query does not wait any more.
    private mutating func leave(_ number: UInt64, at place: Int) -> [Action] {
        guard let waiter = transactions[number]?.waiters.remove(at: place) else { return [] }
        waiting.remove(waiter.guest)
        guard transactions[number]?.waiters.isEmpty == true else { return [] }
        remove(number)
        return [.finish(transaction: number)]
    }

    // MARK: Resolvers

    /// The server to ask next: the preferred one first, then those that were not asked yet, then again the one that was
    /// asked longest ago.
    private func nextServer(_ transaction: Transaction) -> Server? {
        let start = preferred.flatMap { servers.firstIndex(of: $0) } ?? 0
        let usable = (servers[start...] + servers[..<start]).filter { !transaction.failed.contains($0) }
        return usable.first { !transaction.asked.contains($0) }
            ?? usable.min { transaction.asked.lastIndex(of: $0)! < transaction.asked.lastIndex(of: $1)! }
    }

    private mutating func ask(_ number: UInt64, now: Instant) -> [Action] {
        guard let transaction = transactions[number] else { return [] }
        guard transaction.asked.count < Self.maximumAttempts, let server = nextServer(transaction) else {
            return end(number, .serverFailure)
        }
        transactions[number]!.asked.append(server)
        transactions[number]!.due = now + Self.retryInterval
        var query = transaction.query
        query[0] = UInt8(transaction.upstreamID >> 8)
        query[1] = UInt8(truncatingIfNeeded: transaction.upstreamID)
        return [.ask(server, query: query, over: transaction.key.transport, transaction: number)]
    }

    /// Takes what a transaction's socket received. Anything but the answer to the question asked is ignored.
    package mutating func receive(
        _ answer: [UInt8], from server: Server, transaction number: UInt64, now: Instant
    ) -> [Action] {
        guard let transaction = transactions[number], transaction.asked.contains(server),
            let message = try? DNSView(answer.rawSpan), message.isResponse,
            message.id == transaction.upstreamID, message.operation == 0
        else { return [] }
        // A server that refuses to read the query may leave out the question.
        let question = try? message.question()
        guard question == transaction.question || (message.questionCount == 0 && message.responseCode != 0) else {
            return []
        }
        let code = message.responseCode
        // A resolver that cannot help, where there is another: RFC 1035 section 7.2 goes on to the next.
        if code == DNSResponseCode.serverFailure.rawValue || code == DNSResponseCode.refused.rawValue {
            transactions[number]!.refusal = answer
            return fail(server, number, now: now)
        }
        if servers.contains(server) { preferred = server }
        return finish(number, with: answer)
    }

    /// A resolver cannot be reached, or ends the connection: the next is asked at once.
    package mutating func unreachable(_ server: Server, transaction number: UInt64, now: Instant) -> [Action] {
        fail(server, number, now: now)
    }

    private mutating func fail(_ server: Server, _ number: UInt64, now: Instant) -> [Action] {
        guard transactions[number] != nil else { return [] }
        if !transactions[number]!.failed.contains(server) { transactions[number]!.failed.append(server) }
        guard let transaction = transactions[number], let next = nextServer(transaction) else {
            return end(number, .serverFailure)
        }
        // One that was asked may still answer.
        return transaction.asked.contains(next) ? [] : ask(number, now: now)
    }

    package mutating func tick(now: Instant) -> [Action] {
        var actions: [Action] = []
        for number in transactions.filter({ $0.value.due <= now }).keys.sorted() {
            guard let transaction = transactions[number] else { continue }
            // Where all have been asked, one has answered, and the others are silent, its answer is as good as any.
            let isSettled =
                transaction.refusal != nil && nextServer(transaction).map { transaction.asked.contains($0) } ?? true
            actions += isSettled ? end(number, .serverFailure) : ask(number, now: now)
        }
        return actions
    }

    // MARK: Ends

    /// Ends a transaction by what a server has answered, if one has, else by a failure of our own.
    private mutating func end(_ number: UInt64, _ code: DNSResponseCode) -> [Action] {
        guard let transaction = transactions[number] else { return [] }
        return finish(
            number,
            with: code == .serverFailure
                ? transaction.refusal ?? failure(transaction.query, code) : failure(transaction.query, code))
    }

    private mutating func finish(_ number: UInt64, with answer: [UInt8]) -> [Action] {
        guard let transaction = transactions[number] else { return [] }
        for waiter in transaction.waiters { waiting.remove(waiter.guest) }
        remove(number)
        let reply =
            answer.count <= transaction.longestAnswer
            ? answer : DNSMessage.truncated(answer) ?? failure(transaction.query, .serverFailure)
        return transaction.waiters.map { .reply(DNSForwarder.withID($0.id, reply), to: $0.client) } + [
            .finish(transaction: number)
        ]
    }

    private mutating func remove(_ number: UInt64) {
        guard let transaction = transactions.removeValue(forKey: number) else { return }
        numbers[transaction.key] = nil
        owned.remove(transaction.owner)
    }

    private func failure(_ query: [UInt8], _ code: DNSResponseCode, id: UInt16? = nil) -> [UInt8] {
        guard let message = try? DNSView(query.rawSpan) else { return [] }
        return DNSForwarder.withID(id ?? message.id, DNSMessage.failure(of: message, code: code))
    }

    private static func withID(_ id: UInt16, _ message: [UInt8]) -> [UInt8] {
        var message = message
        message[0] = UInt8(id >> 8)
        message[1] = UInt8(truncatingIfNeeded: id)
        return message
    }
}
