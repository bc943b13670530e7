// SPDX-License-Identifier: Apache-2.0
import NameService
import TestSupport
import Testing
import Timing
import Wire

private typealias Forwarder = DNSForwarder<String, String>
private let second = TimeAmount.seconds(1)

/// A forwarder whose servers are called `a`, `b` and so on, and the queries to them.
private struct DNSForwarderHarness {
    struct Asked: Equatable {
        let server: String
        let query: [UInt8]
        let transport: DNSTransport
        let transaction: UInt64
    }

    var forwarder: Forwarder
    var now = Instant.distantPast
    var asked: [Asked] = []
    var replies: [(client: String, message: [UInt8])] = []
    var open: Set<UInt64> = []
    var kept: [(message: [UInt8], query: [UInt8])] = []

    init(_ servers: [String], _ change: (inout Forwarder.Limits) -> Void = { _ in }) {
        var limits = Forwarder.Limits()
        change(&limits)
        forwarder = Forwarder(servers: servers, limits: limits)
    }

    static func guest(_ number: Int, port: UInt16 = 0) -> DNSGuest {
        DNSGuest(port: port == 0 ? UInt16(number) : port, address: IPv4Address(UInt32(0xc0a8_6900 + number)))
    }

    static func query(_ name: String, id: UInt16 = 7) -> [UInt8] {
        DNSMessage.query(id: id, DNSQuestion(name: DNSName(name)!, type: DNSType.a))
    }

    mutating func take(_ actions: [Forwarder.Action]) {
        for action in actions {
            switch action {
            case .send(let server, let query, let transport, let transaction):
                asked.append(Asked(server: server, query: query, transport: transport, transaction: transaction))
                open.insert(transaction)
            case .keep(let message, let query, _): kept.append((message, query))
            case .reply(let message, let client): replies.append((client, message))
            case .close(let transaction): #expect(open.remove(transaction) != nil, "it was open")
            }
        }
    }

    /// A guest sends a query. Returns what that led to.
    @discardableResult
    mutating func ask(
        _ name: String = "www.example.org", id: UInt16 = 7, of number: Int = 1, port: UInt16 = 0, client: String? = nil,
        over transport: DNSTransport = .datagram, query: [UInt8]? = nil
    ) -> Asked? {
        let before = asked.count, query = query ?? DNSForwarderHarness.query(name, id: id)
        let question = DNSQuestion(name: DNSName(name)!, type: DNSType.a)
        take(
            forwarder.forward(
                query, question, over: transport, from: client ?? "guest \(number)",
                of: DNSForwarderHarness.guest(number, port: port), randomID: 0xbeef, now: now))
        return asked.count > before ? asked.last : nil
    }

    /// The same where it must lead to a question.
    mutating func mustProbe(
        _ name: String = "www.example.org", of number: Int = 1, port: UInt16 = 0,
        over transport: DNSTransport = .datagram, query: [UInt8]? = nil
    ) throws -> Asked {
        guard let asked = ask(name, of: number, port: port, over: transport, query: query) else {
            throw CommandFailed(description: "nothing was asked: \(replies)")
        }
        return asked
    }

    mutating func answer(_ asked: Asked, _ message: [UInt8]) {
        take(
            forwarder.receive(
                message, from: asked.server, over: asked.transport, transaction: asked.transaction, now: now))
    }

    /// Answers the query with an address.
    mutating func resolve(_ asked: Asked, name: String = "www.example.org") {
        answer(
            asked,
            DNSMessage.answer(
                id: 0xbeef, isRecursionDesired: true, question: DNSQuestion(name: DNSName(name)!, type: DNSType.a),
                records: [[192, 0, 2, 1]], timeToLive: 60))
    }

    mutating func fail(_ asked: Asked, _ code: DNSResponseCode) {
        guard let view = try? DNSView(asked.query.rawSpan) else { return }
        answer(asked, DNSMessage.failure(of: view, code: code))
    }

    /// Lets time pass until nothing is due any more.
    mutating func waitForAll() {
        while let due = forwarder.nextDeadline {
            now = due
            take(forwarder.tick(now: now))
        }
    }

    /// The response code of the last reply.
    var code: UInt8? { replies.last.flatMap { try? DNSView($0.message.rawSpan).responseCode } }
}

@Suite struct DNSForwarderTests {
    @Test func responseHasTheClientsID() throws {
        var harness = DNSForwarderHarness(["a"])
        let asked = try harness.mustProbe()
        #expect(asked.server == "a" && asked.transport == .datagram)
        #expect(asked.query.rawSpan.big16(at: 0) == 0xbeef)
        #expect(asked.query.dropFirst(2) == DNSForwarderHarness.query("www.example.org").dropFirst(2))
        harness.resolve(asked)
        let reply = try #require(harness.replies.first)
        #expect(reply.client == "guest 1" && reply.message.rawSpan.big16(at: 0) == 7)
        #expect(try DNSView(reply.message.rawSpan).addresses() == ["192.0.2.1"])
        #expect(harness.forwarder.nextDeadline == nil && harness.open.isEmpty)
    }

    @Test func forgedAnswersAreIgnored() throws {
        var harness = DNSForwarderHarness(["a", "b"])
        let asked = try harness.mustProbe()
        func answer(_ name: String = "www.example.org", id: UInt16 = 0xbeef) -> [UInt8] {
            DNSMessage.answer(
                id: id, isRecursionDesired: true, question: DNSQuestion(name: DNSName(name)!, type: DNSType.a),
                records: [[192, 0, 2, 1]], timeToLive: 60)
        }
        var update = answer()
        update[2] |= 5 << 3
        let forged: [([UInt8], String, UInt64)] = [
            (answer(id: 0xbeee), "a", asked.transaction), (answer("www.example.com"), "a", asked.transaction),
            (DNSForwarderHarness.query("www.example.org", id: 0xbeef), "a", asked.transaction),
            (answer(), "a", asked.transaction + 1), (answer(), "b", asked.transaction),
            (update, "a", asked.transaction), ([1, 2], "a", asked.transaction),
        ]
        for (message, server, transaction) in forged {
            #expect(
                harness.forwarder.receive(
                    message, from: server, over: .datagram, transaction: transaction,
                    now: .distantPast + .nanoseconds(1)
                ).isEmpty, "\(message)")
        }
        harness.resolve(asked)
        #expect(harness.replies.count == 1)
    }

    /// An error without a question shows nothing but the id (RFC 5452 section 9.1).
    @Test(arguments: [DNSResponseCode.formatError, .serverFailure, .nameError, .refused])
    func errorWithoutQuestionIsConfirmedByTCP(code: DNSResponseCode) throws {
        let bare = DNSMessage.failure(id: 0xbeef, isRecursionDesired: true, question: nil, code: code)
        var harness = DNSForwarderHarness(["a"])
        let asked = try harness.mustProbe()
        harness.answer(asked, bare)
        #expect(harness.replies.isEmpty && harness.asked.last?.transport == .stream)
        harness.answer(asked, bare)
        #expect(harness.asked.count == 2, "a repetition leads to nothing")
        // The response to the query still counts.
        harness.resolve(asked)
        #expect(harness.code == 0 && harness.replies.count == 1 && harness.open.isEmpty)

        var legacy = DNSForwarderHarness(["a"])
        let first = try legacy.mustProbe()
        legacy.answer(first, bare)
        legacy.answer(legacy.asked.last!, bare)
        let reply = try #require(legacy.replies.last).message
        #expect(legacy.code == code.rawValue && legacy.kept.isEmpty && legacy.open.isEmpty)
        #expect(try DNSView(reply.rawSpan).question().name == DNSName("www.example.org"))

        // A server without TCP, and one that does not respond over TCP.
        var closed = DNSForwarderHarness(["a"])
        let query = try closed.mustProbe()
        closed.answer(query, bare)
        closed.take(closed.forwarder.unreachable("a", transaction: query.transaction, now: closed.now))
        #expect(closed.code == code.rawValue)
        var silent = DNSForwarderHarness(["a"])
        silent.answer(try silent.mustProbe(), bare)
        silent.waitForAll()
        #expect(silent.code == code.rawValue && silent.asked.count == 2)
    }

    @Test func otherServersAreQueriedAfterErrorWithoutQuestion() throws {
        let bare = DNSMessage.failure(id: 0xbeef, isRecursionDesired: true, question: nil, code: .formatError)
        var harness = DNSForwarderHarness(["a", "b"])
        harness.answer(try harness.mustProbe(), bare)
        harness.answer(harness.asked.last!, bare)
        #expect(harness.asked.map(\.server) == ["a", "a", "b"])
        harness.resolve(harness.asked.last!)
        #expect(harness.code == 0)
        // Without an error there must be a question.
        var empty = DNSForwarderHarness(["a"])
        empty.answer(
            try empty.mustProbe(),
            DNSMessage.failure(id: 0xbeef, isRecursionDesired: true, question: nil, code: .noError))
        #expect(empty.asked.count == 1 && empty.replies.isEmpty)
    }

    /// Letters in another case than the query's are passed on to the client that judges them, and are not kept.
    @Test func responseInAnotherCaseIsNotKept() throws {
        var harness = DNSForwarderHarness(["a"])
        var query = DNSForwarderHarness.query("www.example.org")
        query[DNSView.headerLength + 1] = UInt8(ascii: "W")
        harness.resolve(try harness.mustProbe(query: query))
        #expect(harness.replies.count == 1 && harness.kept.isEmpty)
        harness.resolve(try harness.mustProbe())
        #expect(harness.kept.count == 1)
    }

    // MARK: Servers

    @Test func unresponsiveServersLeadToServerFailure() throws {
        var harness = DNSForwarderHarness(["a", "b", "c"])
        harness.ask()
        harness.waitForAll()
        #expect(harness.asked.map(\.server) == ["a", "b", "c"])
        #expect(harness.code == DNSResponseCode.serverFailure.rawValue && harness.open.isEmpty)
        // Before it sends the query again or gives up (resolver(5)).
        #expect(harness.now < .distantPast + 5 * second)
        var single = DNSForwarderHarness(["a"])
        single.ask()
        single.waitForAll()
        #expect(single.asked.map(\.server) == ["a", "a", "a"])
        #expect(single.code == DNSResponseCode.serverFailure.rawValue)
    }

    @Test(arguments: [DNSTransport.datagram, .stream], [DNSTransport.datagram, .stream])
    func lastAnsweringServerIsPreferredOverBothTransports(first: DNSTransport, then: DNSTransport) throws {
        var harness = DNSForwarderHarness(["dead", "good"])
        harness.ask(over: first)
        harness.now = .distantPast + 2 * second
        harness.take(harness.forwarder.tick(now: harness.now))
        #expect(harness.asked.last?.server == "good")
        harness.resolve(harness.asked.last!)
        #expect(harness.ask("next.example.org", over: then)?.server == "good")
    }

    @Test(arguments: [DNSTransport.datagram, .stream], [DNSResponseCode.serverFailure, .refused])
    func refusedQueryGoesToNextServer(transport: DNSTransport, code: DNSResponseCode) throws {
        var harness = DNSForwarderHarness(["a", "b"])
        harness.fail(try harness.mustProbe(over: transport), code)
        #expect(harness.asked.map(\.server) == ["a", "b"] && harness.replies.isEmpty)
        // When all refuse, the client gets the refusal.
        harness.fail(harness.asked[1], code)
        #expect(harness.code == code.rawValue && harness.open.isEmpty)
        // It is not held against them.
        #expect(harness.ask("next.example.org", over: transport)?.server == "a")
    }

    @Test func refusalWaitsForOutstandingServers() throws {
        var harness = DNSForwarderHarness(["slow", "b"])
        let slow = try harness.mustProbe()
        harness.now = .distantPast + 2 * second
        harness.take(harness.forwarder.tick(now: harness.now))
        harness.fail(harness.asked[1], .refused)
        #expect(harness.replies.isEmpty)
        harness.resolve(slow)
        #expect(harness.code == 0)
        // If that does not, the refusal is all there is.
        harness.ask("next.example.org")
        harness.now += 2 * second
        harness.take(harness.forwarder.tick(now: harness.now))
        harness.fail(harness.asked.last!, .refused)
        let before = harness.asked.count
        harness.waitForAll()
        #expect(harness.code == DNSResponseCode.refused.rawValue && harness.asked.count == before)
    }

    @Test func unreachableServersAreSkippedAtOnce() throws {
        var harness = DNSForwarderHarness(["a", "b"])
        let asked = try harness.mustProbe()
        harness.take(
            harness.forwarder.unreachable("a", transaction: asked.transaction, now: .distantPast + .nanoseconds(1)))
        #expect(harness.asked.last?.server == "b")
        harness.take(
            harness.forwarder.unreachable("b", transaction: asked.transaction, now: .distantPast + .nanoseconds(1)))
        #expect(harness.code == DNSResponseCode.serverFailure.rawValue && harness.open.isEmpty)
    }

    @Test func changedServersAreUsed() throws {
        var harness = DNSForwarderHarness(["a", "b"])
        harness.ask()
        harness.forwarder.servers = ["c"]
        harness.now = .distantPast + 2 * second
        harness.take(harness.forwarder.tick(now: harness.now))
        #expect(harness.asked.last?.server == "c")
        #expect(harness.ask("next.example.org")?.server == "c")
        harness.forwarder.servers = []
        harness.waitForAll()
        #expect(harness.replies.count == 2 && harness.code == DNSResponseCode.serverFailure.rawValue)
        harness.ask("at.once.example.org")
        #expect(
            harness.replies.count == 3 && harness.code == DNSResponseCode.serverFailure.rawValue && harness.open.isEmpty
        )
    }

    @Test func longestDomainHasTheName() throws {
        var harness = DNSForwarderHarness(["dead", "a"])
        harness.forwarder.routes = [
            DNSRoute(domain: DNSName("example.org")!, servers: ["b", "c"]),
            DNSRoute(domain: DNSName("lab.Example.org")!, servers: ["d"]),
        ]
        for (name, server) in [
            ("www.example.org", "b"), ("example.org", "b"), ("x.lab.example.org", "d"), ("badexample.org", "dead"),
        ] {
            #expect(try harness.mustProbe(name).server == server, "\(name)")
        }
        harness.waitForAll()
        let others = harness.asked.filter { $0.query.count == harness.asked[0].query.count }.map(\.server)
        #expect(!others.contains("dead") && others.contains("c"), "no other server gets names of a domain")
        // Which server answered last is remembered for each domain.
        harness.ask("a.test")
        harness.now += 2 * second
        harness.take(harness.forwarder.tick(now: harness.now))
        harness.resolve(harness.asked.last!, name: "a.test")
        harness.resolve(try harness.mustProbe("b.example.org"), name: "b.example.org")
        #expect(harness.ask("c.test")?.server == "a")
    }

    // MARK: Joining

    @Test func equalQueryJoinsTransaction() throws {
        var harness = DNSForwarderHarness(["a"])
        let asked = try harness.mustProbe()
        #expect(harness.ask() == nil, "its own repetition")
        #expect(harness.ask(id: 8, of: 2) == nil, "another guest's")
        #expect(harness.ask(over: .stream)?.transport == .datagram, "its answer may be longer")
        #expect(harness.replies.isEmpty)
        harness.resolve(asked)
        #expect(harness.replies.map(\.client).sorted() == ["guest 1", "guest 2"])
        #expect(harness.replies.map { $0.message.rawSpan.big16(at: 0) }.sorted() == [7, 8])
    }

    @Test func equalQueryDoesNotWaitForFormerServers() throws {
        var harness = DNSForwarderHarness(["a"])
        let first = try harness.mustProbe()
        harness.forwarder.servers = ["b"]
        harness.forwarder.separateNewQueries()
        let asked = harness.ask(id: 8, of: 2)
        let second = try #require(asked)
        #expect(second.server == "b" && second.transaction != first.transaction)
        harness.resolve(first)
        let third = harness.ask(id: 9, of: 3)
        #expect(harness.replies.count == 1 && third == nil, "the second one goes on")
        harness.resolve(second)
        #expect(harness.replies.count == 3)
    }

    @Test func differentQueriesAreSeparateTransactions() throws {
        var harness = DNSForwarderHarness(["a"])
        harness.ask()
        // In other letters, which are to come back as they are, and with another flag.
        var letters = DNSForwarderHarness.query("www.example.org", id: 8),
            flags = DNSForwarderHarness.query("www.example.org", id: 9)
        letters[13] = UInt8(ascii: "W")
        flags[3] |= 0x10
        for query in [letters, flags] { #expect(harness.ask(query: query)?.query.dropFirst(2) == query.dropFirst(2)) }
    }

    @Test func disconnectedClientIsRemoved() throws {
        var harness = DNSForwarderHarness(["a"])
        harness.ask(client: "one", over: .stream)
        harness.ask(id: 8, client: "two", over: .stream)
        harness.take(harness.forwarder.removeClient("one"))
        #expect(harness.open.count == 1)
        harness.take(harness.forwarder.removeClient("two"))
        #expect(harness.open.isEmpty && harness.replies.isEmpty && harness.forwarder.load == (0, 0))
    }

    // MARK: Sizes

    @Test func longResponseIsTruncatedForUDP() throws {
        func size(
            _ query: [UInt8], _ transport: DNSTransport, _ records: Int
        ) throws -> (isTruncated: Bool, count: Int) {
            var harness = DNSForwarderHarness(["a"])
            let asked = try harness.mustProbe(over: transport, query: query)
            let question = DNSQuestion(name: DNSName("www.example.org")!, type: DNSType.a)
            harness.answer(
                asked,
                DNSMessage.answer(
                    id: 0xbeef, isRecursionDesired: true, question: question,
                    records: .init(repeating: [192, 0, 2, 1], count: records), timeToLive: 1))
            let reply = try #require(harness.replies.first)
            return (try DNSView(reply.message.rawSpan).isTruncated, reply.message.count)
        }
        let plain = DNSForwarderHarness.query("www.example.org")
        var writer = ByteWriter()
        writer.put(plain)
        ExtendedDNS(payloadSize: 1232).emit(into: &writer)
        writer.patch16(1, at: 10)
        // A header and a question of 33 bytes, and 16 for each record.
        #expect(try size(plain, .datagram, 29) == (false, 497))
        #expect(try size(plain, .datagram, 30) == (true, 33))
        #expect(try size(writer.bytes, .datagram, 74) == (false, 1217))
        #expect(try size(writer.bytes, .datagram, 75) == (true, 33))
        #expect(try size(plain, .stream, 4000) == (false, 64_033))
    }

    @Test func truncatedResponseIsFetchedOverTCP() throws {
        var harness = DNSForwarderHarness(["a", "b"])
        let first = try harness.mustProbe(over: .stream)
        #expect(first.transport == .datagram)
        let question = DNSQuestion(name: DNSName("www.example.org")!, type: DNSType.a)
        let response = DNSMessage.answer(
            id: 0xbeef, isRecursionDesired: true, question: question, records: [], timeToLive: 60)
        let truncated = try #require(DNSMessage.truncated(response))
        harness.answer(first, truncated)
        harness.answer(first, truncated)
        #expect(harness.asked.map(\.transport) == [.datagram, .stream] && harness.asked[1].server == "a")
        #expect(harness.replies.isEmpty && harness.kept.isEmpty)
        // The connection is refused: the next server is queried over TCP at once.
        harness.take(harness.forwarder.unreachable("a", transaction: first.transaction, now: harness.now))
        let last = try #require(harness.asked.last)
        #expect(last.server == "b" && last.transport == .stream)
        harness.resolve(last)
        #expect(harness.code == 0 && harness.open.isEmpty && harness.kept.count == 1)
        // A client on UDP repeats the query itself.
        harness.answer(try harness.mustProbe("www.example.org", of: 2), truncated)
        #expect(harness.replies.count == 2 && harness.asked.last?.transport == .datagram)
    }

    @Test func transactionsOverTCPAreBounded() throws {
        var harness = DNSForwarderHarness(["a"]) { $0.streams = 4 }
        func truncate(_ name: String, _ guest: Int, _ port: UInt16) throws {
            let asked = try harness.mustProbe(name, of: guest, port: port, over: .stream)
            let question = DNSQuestion(name: DNSName(name)!, type: DNSType.a)
            let response = DNSMessage.answer(
                id: 0xbeef, isRecursionDesired: true, question: question, records: [], timeToLive: 60)
            harness.answer(asked, try #require(DNSMessage.truncated(response)))
        }
        for number in 0..<9 { try truncate("n\(number).example.org", 1, 1) }
        #expect(harness.forwarder.load.transactions == 4 && harness.replies.count == 5)
        #expect(harness.code == DNSResponseCode.refused.rawValue)
        try truncate("other.example.org", 2, 2)
        #expect(harness.forwarder.load.transactions == 4 && harness.replies.count == 6)
        #expect(harness.replies.allSatisfy { $0.client == "guest 1" }, "the one with the most")
        harness.waitForAll()
        #expect(harness.forwarder.load == (0, 0) && harness.open.isEmpty)
    }

    // MARK: Shares

    @Test func floodOfOneGuestLeavesOthersTheirShare() throws {
        var harness = DNSForwarderHarness(["a"])
        for number in 0..<5000 { harness.ask("a\(number).example.org", of: 1) }
        #expect(harness.asked.count == 256, "its share")
        #expect(
            harness.replies.count == 5000 - 256 && harness.code == DNSResponseCode.refused.rawValue,
            "the others are answered, too")
        // A guest can use many addresses behind its port.
        for number in 0..<5000 { harness.ask("b\(number).example.org", of: 2 + number % 250, port: 1) }
        #expect(harness.open.count == 512)
        for number in 0..<40 {
            let asked = try harness.mustProbe("c\(number).example.org", of: 300, port: 9)
            harness.ask("d\(number).example.org", of: 2 + number % 250, port: 1)
            #expect(harness.open.count <= 512 && harness.open.contains(asked.transaction))
        }
        harness.waitForAll()
        #expect(harness.forwarder.load == (0, 0) && harness.open.isEmpty)
        #expect(harness.replies.count == 10_080, "each is answered")
        #expect(harness.ask("e.example.org") != nil)
    }

    @Test func waitersAreBounded() throws {
        var harness = DNSForwarderHarness(["a"])
        for number in 0..<3000 { harness.ask(id: UInt16(number), of: 1, client: "1.\(number)") }
        #expect(harness.forwarder.load == (1, 256))
        for guest in 2..<20 {
            for number in 0..<128 { harness.ask(id: UInt16(number), of: guest, port: 1, client: "\(guest).\(number)") }
        }
        #expect(harness.forwarder.load.waiting == 1024)
        // One more guest, at another port, takes a place from those with the most.
        harness.ask("other.example.org", of: 40, port: 7)
        #expect(harness.forwarder.load == (2, 1024))
        harness.ask(of: 41, port: 8)
        #expect(harness.forwarder.load == (2, 1024))
        harness.waitForAll()
        #expect(
            harness.forwarder.load == (0, 0) && harness.open.isEmpty
                && harness.replies.contains { $0.client == "guest 41" })
    }

    /// Whatever happens, each query is answered once, and nothing stays behind.
    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func everyQueryIsAnsweredOnce(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var harness = DNSForwarderHarness(["a", "b", "c"]) {
            $0.transactions = 12
            $0.transactionsPerGuest = 5
            $0.waiting = 40
            $0.waitingPerGuest = 9
        }
        var clients: Set<String> = [], gone: Set<String> = []
        for step in 0..<4000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let guest = Int.random(in: 1...9, using: &random),
                    name = "n\(Int.random(in: 0..<30, using: &random)).example.org"
                clients.insert("\(step)")
                harness.ask(
                    name, id: UInt16(step), of: guest, port: UInt16(1 + guest % 3), client: "\(step)",
                    over: Bool.random(using: &random) ? .stream : .datagram)
            case 5:
                if let asked = harness.asked.suffix(40).randomElement(using: &random) {
                    harness.fail(asked, Bool.random(using: &random) ? .refused : .serverFailure)
                }
            case 6:
                if let asked = harness.asked.suffix(40).randomElement(using: &random),
                    let question = try? DNSView(asked.query.rawSpan).question()
                {
                    harness.answer(
                        asked,
                        DNSMessage.answer(
                            id: 0xbeef, isRecursionDesired: true, question: question, records: [[192, 0, 2, 1]],
                            timeToLive: 1))
                }
            case 7:
                if let asked = harness.asked.last {
                    harness.take(
                        harness.forwarder.unreachable(asked.server, transaction: asked.transaction, now: harness.now))
                }
            case 8:
                if let client = clients.randomElement(using: &random),
                    !harness.replies.contains(where: { $0.client == client })
                {
                    gone.insert(client)
                    harness.take(harness.forwarder.removeClient(client))
                }
            default:
                harness.now += .nanoseconds(Int64.random(in: 0...second.nanoseconds, using: &random))
                harness.take(harness.forwarder.tick(now: harness.now))
                harness.forwarder.servers = [["a", "b", "c"], ["b"], [], ["c", "d"]].randomElement(using: &random)!
            }
            #expect(
                harness.forwarder.load.transactions == harness.open.count && harness.open.count <= 12
                    && harness.forwarder.load.waiting <= 40)
        }
        harness.waitForAll()
        #expect(harness.forwarder.load == (0, 0) && harness.open.isEmpty)
        #expect(harness.replies.count == Set(harness.replies.map(\.client)).count, "none twice")
        #expect(Set(harness.replies.map(\.client)) == clients.subtracting(gone))
    }
}
