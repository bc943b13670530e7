// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The transport of a query, over which it is also forwarded: a client that gets a truncated response over UDP repeats
/// the query over TCP.
package enum DNSTransport: Hashable, Sendable {
    case datagram, stream
}

/// Forwards DNS queries to the host's resolvers and their responses to the clients (RFC 5625). It has no clock and no
/// sockets: the caller passes the time and carries out the actions that it returns.
///
/// # Transactions
///
/// Each query that is forwarded is a transaction with a new random id (RFC 5452 section 4.3). A query that is equal to
/// one under way, over the same transport, joins its transaction and gets its response (`Waiter`). The caller gives
/// each transaction separate sockets that are connected to the server, hence with random ports, so that no other host
/// can answer.
///
///     event                       action
///     query, no transaction       new transaction, query the preferred server
///     query, same under way       wait for that transaction's response
///     response                    reply to all waiters, close the transaction
///     SERVFAIL or REFUSED,        query the next server; the last such response is the reply if none does better
///       server unreachable
///     1.5 s without a response    query the next server as well; after three queries SERVFAIL
///     client gone                 remove its waiters; close a transaction without waiters
///
/// # Servers
///
/// The server that answered last is queried first, for UDP and TCP alike; then those that were not queried yet; then
/// the one that was queried longest ago.
///
/// # Shares
///
/// Transactions and waiters are bounded, in all and per guest. When all are in use, the guest with the most behind the
/// port with the most gives up its oldest to one with less (`GuestShares`). A query beyond a guest's share is answered
/// with REFUSED.
package struct DNSForwarder<Client: Hashable & Sendable, Server: Hashable & Sendable>: Sendable {
    /// What the caller does for the forwarder, in order.
    package enum Action: Sendable {
        /// Send `query` to the server, from a socket that belongs to `transaction`. The sockets of all servers but the
        /// two that were queried last can be closed.
        case send(Server, query: [UInt8], over: DNSTransport, transaction: UInt64)
        /// Send a response to a client.
        case reply([UInt8], to: Client)
        /// Close the transaction's sockets.
        case close(transaction: UInt64)
    }

    /// Bounds of what guests can make the forwarder do.
    package struct Limits: Sendable {
        /// Transactions at a time, of all guests.
        package var transactions = 128
        /// Transactions at a time, of one guest.
        package var transactionsPerGuest = 64
        /// Queries that wait for a response, of all guests.
        package var waiting = 1024
        /// Queries that wait for a response, of one guest.
        package var waitingPerGuest = 128

        /// The limits of a process that may open enough sockets.
        package init() {}
    }

    private struct Waiter: Sendable {
        let client: Client
        let id: UInt16
        let guest: DNSGuest
    }

    /// Queries with equal keys get the same response, but for its id.
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
        /// The guest in whose share it counts.
        let owner: DNSGuest
        /// Bytes of the longest response that its clients accept.
        let longestResponse: Int
        var waiters: [Waiter]
        /// Servers in the order of the queries to them, with repetitions.
        var queried: [Server] = []
        /// Servers that refused, failed or are unreachable.
        var failed: [Server] = []
        /// The response of the last of them that sent one.
        var refusal: [UInt8]?
        var due: Instant
    }

    /// How long a server has for its response before the next one is queried as well. Three times that is less than the
    /// five seconds after which clients repeat the query or try another server (resolver(5)), so that they always get a
    /// response.
    private static var retryInterval: TimeAmount { .milliseconds(1500) }
    private static var maximumAttempts: Int { 3 }

    /// The resolvers in order of preference. Without any, every query fails at once.
    package var servers: [Server]
    private let limits: Limits
    /// The resolver that answered last.
    private var preferred: Server?
    private var transactions: [UInt64: Transaction] = [:]
    private var numbers: [Key: UInt64] = [:]
    private var owned = GuestShares()
    private var waiting = GuestShares()
    private var nextTransaction: UInt64 = 0

    /// - Parameter servers: the resolvers in order of preference.
    package init(servers: [Server], limits: Limits = Limits()) {
        self.servers = servers
        self.limits = limits
    }

    /// When `tick` must be called next; nil without transactions.
    package var nextDeadline: Instant? { transactions.values.lazy.map(\.due).min() }

    /// Transactions under way, and queries that wait for a response.
    package var load: (transactions: Int, waiting: Int) { (transactions.count, waiting.count) }

    // MARK: Queries

    /// Forwards a query.
    /// - Parameters:
    ///   - client: gets the response.
    ///   - guest: in whose share the query counts.
    ///   - randomID: a new random number, the id of the query to the resolver.
    package mutating func forward(
        _ query: [UInt8], _ question: DNSQuestion, over transport: DNSTransport = .datagram, from client: Client,
        of guest: DNSGuest, randomID: UInt16,
        now: Instant
    ) -> [Action] {
        guard let message = try? DNSView(query.rawSpan) else { return [] }
        let waiter = Waiter(client: client, id: message.id, guest: guest)
        let key = Key(transport: transport, query: query[2...])
        if let number = numbers[key], let transaction = transactions[number] {
            // The client repeats a query that is under way.
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
        let size = message.longestResponse(over: transport)
        let number = nextTransaction
        nextTransaction += 1
        numbers[key] = number
        transactions[number] = Transaction(
            key: key, question: question, query: query, upstreamID: randomID, owner: guest, longestResponse: size,
            waiters: [waiter], due: now)
        owned.add(guest)
        waiting.add(guest)
        return evicted + sendQuery(number, now: now)
    }

    /// Makes a query wait for the response to an equal one.
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

    /// Makes room for one more transaction, if need be by ending another guest's.
    /// - Returns: the actions for that; nil if `guest` has its share.
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

    /// Makes room for one more waiter.
    /// - Parameter number: the transaction that it will join, which must stay.
    private mutating func makeRoomToWait(for guest: DNSGuest, besides number: UInt64?) -> [Action]? {
        guard waiting.count >= limits.waiting else { return [] }
        guard let victim = waiting.victim(for: guest) else { return nil }
        let candidates = transactions.filter { $0.key != number && $0.value.waiters.contains { $0.guest == victim } }
        guard let oldest = candidates.keys.min(),
            let index = transactions[oldest]?.waiters.firstIndex(where: { $0.guest == victim })
        else { return nil }
        let waiter = transactions[oldest]!.waiters[index]
        return [.reply(failure(transactions[oldest]!.query, .refused, id: waiter.id), to: waiter.client)]
            + removeWaiter(of: oldest, at: index)
    }

    /// Removes all waiters of a client that has disconnected.
    package mutating func removeClient(_ client: Client) -> [Action] {
        var actions: [Action] = []
        for number in transactions.keys.sorted() {
            while let index = transactions[number]?.waiters.firstIndex(where: { $0.client == client }) {
                actions += removeWaiter(of: number, at: index)
            }
        }
        return actions
    }

    /// Removes a waiter, and its transaction if that was the last one.
    private mutating func removeWaiter(of number: UInt64, at index: Int) -> [Action] {
        guard let waiter = transactions[number]?.waiters.remove(at: index) else { return [] }
        waiting.remove(waiter.guest)
        guard transactions[number]?.waiters.isEmpty == true else { return [] }
        remove(number)
        return [.close(transaction: number)]
    }

    // MARK: Resolvers

    /// The server to query next: the preferred one first, then those that were not queried yet, then the one that was
    /// queried longest ago.
    private func nextServer(_ transaction: Transaction) -> Server? {
        let start = preferred.flatMap { servers.firstIndex(of: $0) } ?? 0
        let usable = (servers[start...] + servers[..<start]).filter { !transaction.failed.contains($0) }
        return usable.first { !transaction.queried.contains($0) }
            ?? usable.min { transaction.queried.lastIndex(of: $0)! < transaction.queried.lastIndex(of: $1)! }
    }

    private mutating func sendQuery(_ number: UInt64, now: Instant) -> [Action] {
        guard let transaction = transactions[number] else { return [] }
        guard transaction.queried.count < Self.maximumAttempts, let server = nextServer(transaction) else {
            return end(number, .serverFailure)
        }
        transactions[number]!.queried.append(server)
        transactions[number]!.due = now + Self.retryInterval
        var query = transaction.query
        query[0] = UInt8(transaction.upstreamID >> 8)
        query[1] = UInt8(truncatingIfNeeded: transaction.upstreamID)
        return [.send(server, query: query, over: transaction.key.transport, transaction: number)]
    }

    /// Handles a message that a transaction's socket received. Anything but a response to its query is ignored.
    package mutating func receive(
        _ answer: [UInt8], from server: Server, transaction number: UInt64, now: Instant
    ) -> [Action] {
        guard let transaction = transactions[number], transaction.queried.contains(server),
            let message = try? DNSView(answer.rawSpan), message.isResponse,
            message.id == transaction.upstreamID, message.operation == 0
        else { return [] }
        // A server that rejects a query may leave out its question.
        let question = try? message.question()
        guard question == transaction.question || (message.questionCount == 0 && message.responseCode != 0) else {
            return []
        }
        let code = message.responseCode
        // RFC 1035 section 7.2: go on to the next server.
        if code == DNSResponseCode.serverFailure.rawValue || code == DNSResponseCode.refused.rawValue {
            transactions[number]!.refusal = answer
            return fail(server, number, now: now)
        }
        if servers.contains(server) { preferred = server }
        return finish(number, with: answer)
    }

    /// A resolver is unreachable or has closed the connection: the next one is queried at once.
    package mutating func unreachable(_ server: Server, transaction number: UInt64, now: Instant) -> [Action] {
        fail(server, number, now: now)
    }

    private mutating func fail(_ server: Server, _ number: UInt64, now: Instant) -> [Action] {
        guard transactions[number] != nil else { return [] }
        if !transactions[number]!.failed.contains(server) { transactions[number]!.failed.append(server) }
        guard let transaction = transactions[number], let next = nextServer(transaction) else {
            return end(number, .serverFailure)
        }
        // A server that was queried already may still answer.
        return transaction.queried.contains(next) ? [] : sendQuery(number, now: now)
    }

    /// Handles deadlines that have passed.
    package mutating func tick(now: Instant) -> [Action] {
        var actions: [Action] = []
        for number in transactions.filter({ $0.value.due <= now }).keys.sorted() {
            guard let transaction = transactions[number] else { continue }
            // All servers were queried, one refused, and the others did not answer: its response is the reply.
            let isDecided =
                transaction.refusal != nil && nextServer(transaction).map { transaction.queried.contains($0) } ?? true
            actions += isDecided ? end(number, .serverFailure) : sendQuery(number, now: now)
        }
        return actions
    }

    // MARK: Ending transactions

    /// Ends a transaction: with the response of a server that refused, if there is one, else with the forwarder's own
    /// failure.
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
            answer.count <= transaction.longestResponse
            ? answer : DNSMessage.truncated(answer) ?? failure(transaction.query, .serverFailure)
        return transaction.waiters.map { .reply(DNSForwarder.withID($0.id, reply), to: $0.client) } + [
            .close(transaction: number)
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
