// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The transport of a query. Over which it is forwarded is the forwarder's decision.
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
///     truncated, client on TCP    query the same server over TCP
///     SERVFAIL or REFUSED,        query the next server; the last such response is the reply if none does better
///       server unreachable
///     error without a question    over UDP, query the same server over TCP; over TCP, as with SERVFAIL
///     1.5 s without a response    query the next server as well; after three queries SERVFAIL
///     client gone                 remove its waiters; close a transaction without waiters
///
/// # Servers
///
/// A name within the domain of a route has that route's servers; of several routes, the one with the longest domain
/// counts. Of the servers, the one that answered last is queried first, for UDP and TCP alike; then those that were not
/// queried yet; then the one that was queried longest ago.
///
/// # Transports
///
/// The first query of a transaction goes over UDP, whatever the client's transport is: a connection for each query
/// costs several times as much. A client on TCP gets no truncated response: the query is repeated over TCP. Its further
/// queries go over TCP at once, because a network may drop long or fragmented datagrams.
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
        /// A server has answered a query. The response may be kept for others.
        case keep([UInt8], to: [UInt8], of: DNSGuest)
        /// Send a response to a client.
        case reply([UInt8], to: Client)
        /// Close the transaction's sockets.
        case close(transaction: UInt64)
    }

    /// How long a server has for its response before the next one is queried as well. Three times that is less than the
    /// five seconds after which clients repeat the query or try another server (resolver(5)), so that they always get a
    /// response.
    private static var retryInterval: TimeAmount { .milliseconds(1500) }
    private static var maximumAttempts: Int { 3 }

    /// The resolvers in order of preference. Without any, every query fails at once.
    package var servers: [Server]
    /// The servers of some domains.
    package var routes: [DNSRoute<Server>] = []
    private let limits: Limits
    /// The server that answered last, for each route; that of `servers` has no domain.
    private var preferred: [DNSName?: Server] = [:]
    private var transactions: [UInt64: Transaction] = [:]
    private var numbers: [Key: UInt64] = [:]
    private var owned = GuestShares()
    private var waiting = GuestShares()
    private var streaming = GuestShares()
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
        guard !serversOf(question).isEmpty else {
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

    /// The servers have changed: new queries do not wait for the response to an equal one that went to others.
    package mutating func separateNewQueries() { numbers = [:] }

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

    /// The route with the longest domain that the name is within.
    private func route(of question: DNSQuestion) -> DNSRoute<Server>? {
        var found: DNSRoute<Server>?
        for route in routes where question.name.isWithin(route.domain) {
            if route.domain.labels.count >= found?.domain.labels.count ?? 0 { found = route }
        }
        return found
    }

    private func serversOf(_ question: DNSQuestion) -> [Server] { route(of: question)?.servers ?? servers }

    /// The server to query next: the preferred one first, then those that were not queried yet, then the one that was
    /// queried longest ago.
    private func nextServer(_ transaction: Transaction) -> Server? {
        let route = route(of: transaction.question), servers = route?.servers ?? servers
        if transaction.queried.isEmpty, servers.count == 1 { return transaction.failed.isEmpty ? servers[0] : nil }
        let start = preferred[route?.domain].flatMap { servers.firstIndex(of: $0) } ?? 0
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
        let isDatagram =
            transaction.key.transport == .datagram
            || transaction.queried.isEmpty && transaction.query.count <= ExtendedDNS.minimumPayload
        return isDatagram ? [send(transaction, number, to: server, over: .datagram)] : sendByStream(number, to: server)
    }

    private func send(
        _ transaction: Transaction, _ number: UInt64, to server: Server, over transport: DNSTransport
    ) -> Action {
        .send(
            server, query: DNSForwarder.withID(transaction.upstreamID, transaction.query), over: transport,
            transaction: number)
    }

    private mutating func sendByStream(_ number: UInt64, to server: Server) -> [Action] {
        guard let transaction = transactions[number] else { return [] }
        var actions: [Action] = []
        if !transaction.isStreaming {
            guard let evicted = makeRoomToStream(for: transaction.owner) else { return end(number, .refused) }
            actions = evicted
            streaming.add(transaction.owner)
        }
        if !transaction.queriedByStream.contains(server) { transactions[number]!.queriedByStream.append(server) }
        return actions + [send(transaction, number, to: server, over: .stream)]
    }

    /// Makes room for one more transaction over TCP, if need be by ending another guest's.
    /// - Returns: the actions for that; nil if `guest` has its share.
    private mutating func makeRoomToStream(for guest: DNSGuest) -> [Action]? {
        guard streaming.count >= limits.streams else { return [] }
        guard let victim = streaming.victim(for: guest),
            let oldest = transactions.filter({ $0.value.isStreaming && $0.value.owner == victim }).keys.min()
        else { return nil }
        return end(oldest, .refused)
    }

    /// Handles a message that a transaction's socket received. Anything but a response to its query is ignored.
    /// - Parameter transport: of the message.
    package mutating func receive(
        _ answer: [UInt8], from server: Server, over transport: DNSTransport, transaction number: UInt64, now: Instant
    ) -> [Action] {
        guard let transaction = transactions[number], transaction.queried.contains(server),
            let message = try? DNSView(answer.rawSpan), message.isResponse,
            message.id == transaction.upstreamID, message.operation == 0
        else { return [] }
        guard message.questionCount > 0 else {
            return rejection(message.responseCode, of: server, number, over: transport, now)
        }
        guard let (question, end) = try? message.questionAndEnd(), question == transaction.question else { return [] }
        let code = message.responseCode
        // RFC 1035 section 7.2: go on to the next server.
        if code == DNSResponseCode.serverFailure.rawValue || code == DNSResponseCode.refused.rawValue {
            transactions[number]!.refusal = answer
            return fail(server, number, now: now)
        }
        let route = route(of: transaction.question)
        if (route?.servers ?? servers).contains(server) { preferred[route?.domain] = server }
        if message.isTruncated && transport == .datagram && transaction.key.transport == .stream {
            if transaction.queriedByStream.contains(server) { return [] }
            transactions[number]!.due = now + Self.retryInterval
            return sendByStream(number, to: server)
        }
        // Letters in another case may be a guess (0x20): the client that has chosen them judges. Others do not get it.
        let queried = transaction.query[DNSView.headerLength...].prefix(end - DNSView.headerLength)
        let kept: [Action] =
            answer[DNSView.headerLength..<end] == queried
            ? [.keep(answer, to: transaction.query, of: transaction.owner)] : []
        return kept + finish(number, with: answer)
    }

    /// Handles a response without a question, with which servers reject queries that they cannot read, such as those
    /// with EDNS. Nothing but the id shows that it is a response to this query (RFC 5452 section 9.1). So one over UDP
    /// decides nothing: the query is repeated over TCP, whose connection shows that the server responds. It counts if
    /// no server does better.
    private mutating func rejection(
        _ code: UInt8, of server: Server, _ number: UInt64, over transport: DNSTransport, _ now: Instant
    ) -> [Action] {
        guard code != 0, let transaction = transactions[number], let query = try? DNSView(transaction.query.rawSpan)
        else { return [] }
        // Without an OPT record: the client repeats the query without EDNS (RFC 6891 section 7).
        transactions[number]!.refusal = DNSMessage.failure(
            of: query, code: DNSResponseCode(rawValue: code) ?? .serverFailure, isExtended: false)
        if transport == .stream { return fail(server, number, now: now) }
        if transaction.queriedByStream.contains(server) { return [] }
        transactions[number]!.due = now + Self.retryInterval
        return sendByStream(number, to: server)
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
        if numbers[transaction.key] == number { numbers[transaction.key] = nil }
        owned.remove(transaction.owner)
        if transaction.isStreaming { streaming.remove(transaction.owner) }
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
