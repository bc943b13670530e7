// SPDX-License-Identifier: Apache-2.0
import AddressService
import TestSupport
import Testing
import Wire

private typealias Forwarder = NameForwarder<String>
private let second: UInt64 = 1_000_000_000

@Suite struct NameTests {
    private func query(_ name: String, id: UInt16 = 7, type: UInt16 = DNSType.a) -> [UInt8] {
        DNSMessage.query(id: id, DNSQuestion(name: DNSName(name)!, type: type))
    }

    private func question(_ name: String) -> DNSQuestion { DNSQuestion(name: DNSName(name)!, type: DNSType.a) }

    // MARK: Triage

    @Test func localhostIsAnsweredHere() throws {
        for name in ["localhost", "LOCALHOST.", "a.localhost"] {
            guard case .answer(let answer) = NameTriage(query: query(name).rawSpan) else {
                Issue.record("\(name) was not answered")
                continue
            }
            let view = try DNSView(answer.rawSpan)
            #expect(view.id == 7)
            #expect(try view.addresses() == ["127.0.0.1"])
        }
        guard case .answer(let six) = NameTriage(query: query("localhost", type: DNSType.aaaa).rawSpan) else { return }
        #expect(try DNSView(six.rawSpan).addresses() == ["0:0:0:0:0:0:0:1"])
    }

    @Test func otherNamesAreForwarded() {
        #expect(NameTriage(query: query("www.example.org").rawSpan) == .forward(question("www.example.org")))
        #expect(NameTriage(query: query("notlocalhost").rawSpan) == .forward(question("notlocalhost")))
    }

    @Test func answersAndRubbishAreNotQueries() throws {
        let answer = DNSMessage.answer(id: 1, wantsRecursion: true, question: question("a.b"), records: [], timeToLive: 0)
        #expect(NameTriage(query: answer.rawSpan) == .ignore)
        #expect(NameTriage(query: [1, 2, 3].rawSpan) == .ignore)
        var update = query("a.b")
        update[2] |= 5 << 3
        guard case .answer(let refusal) = NameTriage(query: update.rawSpan) else {
            Issue.record("not answered")
            return
        }
        #expect(try DNSView(refusal.rawSpan).responseCode == DNSResponseCode.notImplemented.rawValue)
        let short = Array(query("a.b").prefix(15))
        guard case .answer(let error) = NameTriage(query: short.rawSpan) else {
            Issue.record("not answered")
            return
        }
        #expect(try DNSView(error.rawSpan).responseCode == DNSResponseCode.formatError.rawValue)
        fuzz(query("www.example.org")) { _ = NameTriage(query: $0.rawSpan) }
    }

    // MARK: Forwarding

    /// Starts a query and returns what was asked of a resolver.
    private func start(_ forwarder: inout Forwarder, _ name: String = "www.example.org", from client: String = "guest", randomID: UInt16 = 0xbeef) throws -> (server: Int, query: [UInt8], transaction: UInt64) {
        let actions = forwarder.forward(query(name), question(name), from: client, randomID: randomID, now: 0)
        guard case .ask(let server, let query, let transaction)? = actions.first, actions.count == 1 else { throw CommandFailed(description: "\(actions)") }
        return (server, query, transaction)
    }

    private func answer(_ name: String = "www.example.org", id: UInt16 = 0xbeef) -> [UInt8] {
        DNSMessage.answer(id: id, wantsRecursion: true, question: question(name), records: [[192, 0, 2, 1]], timeToLive: 60)
    }

    @Test func answersGoBackUnderTheClientsID() throws {
        var forwarder = Forwarder(servers: 1)
        let asked = try start(&forwarder)
        #expect(asked.query.rawSpan.big16(at: 0) == 0xbeef)
        #expect(asked.query.dropFirst(2) == query("www.example.org").dropFirst(2))
        let actions = forwarder.receive(answer(), from: 0, transaction: asked.transaction, now: 1)
        guard case .reply(let reply, "guest")? = actions.first, case .finish(asked.transaction)? = actions.last else {
            Issue.record("\(actions)")
            return
        }
        #expect(reply.rawSpan.big16(at: 0) == 7)
        #expect(try DNSView(reply.rawSpan).addresses() == ["192.0.2.1"])
        #expect(forwarder.nextDeadline == nil)
    }

    @Test func forgedAnswersAreIgnored() throws {
        var forwarder = Forwarder(servers: 1)
        let asked = try start(&forwarder)
        #expect(forwarder.receive(answer(id: 0xbeee), from: 0, transaction: asked.transaction, now: 1).isEmpty, "another id")
        #expect(forwarder.receive(answer("www.example.com"), from: 0, transaction: asked.transaction, now: 1).isEmpty, "another question")
        #expect(forwarder.receive(query("www.example.org", id: 0xbeef), from: 0, transaction: asked.transaction, now: 1).isEmpty, "not an answer")
        #expect(forwarder.receive(answer(), from: 0, transaction: asked.transaction + 1, now: 1).isEmpty, "another transaction")
        #expect(forwarder.receive(answer(), from: 0, transaction: asked.transaction, now: 1).count == 2)
    }

    @Test func silentServersAreLeftForTheNext() throws {
        var forwarder = Forwarder(servers: 3)
        #expect(try start(&forwarder).server == 0)
        var servers: [Int] = []
        var last: [Forwarder.Action] = []
        while let due = forwarder.nextDeadline {
            last = forwarder.tick(now: due)
            for case .ask(let server, _, _) in last { servers.append(server) }
        }
        #expect(servers == [1, 2, 0])
        guard case .reply(let reply, "guest")? = last.first else {
            Issue.record("no answer in the end: \(last)")
            return
        }
        #expect(try DNSView(reply.rawSpan).responseCode == DNSResponseCode.serverFailure.rawValue)
    }

    @Test func theServerThatAnsweredIsAskedFirst() throws {
        var forwarder = Forwarder(servers: 2)
        let asked = try start(&forwarder)
        guard case .ask(1, _, _)? = forwarder.tick(now: 2 * second).first else {
            Issue.record("the second server was not asked")
            return
        }
        _ = forwarder.receive(answer(), from: 1, transaction: asked.transaction, now: 2 * second)
        #expect(try start(&forwarder, "next.example.org").server == 1)
    }

    @Test func refusalsOfOneServerAreAskedOfTheNext() throws {
        var forwarder = Forwarder(servers: 2)
        let asked = try start(&forwarder)
        let failure = DNSMessage.failure(id: 0xbeef, wantsRecursion: true, question: question("www.example.org"), code: .refused)
        guard case .ask(1, _, _)? = forwarder.receive(failure, from: 0, transaction: asked.transaction, now: 1).first else {
            Issue.record("not asked again")
            return
        }
        // When all refuse, the client hears it.
        guard case .reply? = forwarder.receive(failure, from: 1, transaction: asked.transaction, now: 2).first else {
            Issue.record("not answered")
            return
        }
    }

    @Test func unreachableServersAreSkippedAtOnce() throws {
        var forwarder = Forwarder(servers: 2)
        let asked = try start(&forwarder)
        guard case .ask(1, _, _)? = forwarder.unreachable(transaction: asked.transaction, now: 1).first else {
            Issue.record("the second server was not asked")
            return
        }
        guard case .reply? = forwarder.unreachable(transaction: asked.transaction, now: 1).first else {
            Issue.record("no failure in the end")
            return
        }
    }

    @Test func repetitionsAreNotAskedTwice() throws {
        var forwarder = Forwarder(servers: 1)
        _ = try start(&forwarder)
        #expect(forwarder.forward(query("www.example.org"), question("www.example.org"), from: "guest", randomID: 1, now: 5).isEmpty)
        #expect(forwarder.forward(query("www.example.org"), question("www.example.org"), from: "another", randomID: 1, now: 5).count == 1)
    }

    @Test func withoutServersEveryQueryFailsAtOnce() throws {
        var forwarder = Forwarder(servers: 0)
        guard case .reply(let reply, _)? = forwarder.forward(query("a.b"), question("a.b"), from: "guest", randomID: 1, now: 0).first else {
            Issue.record("not answered")
            return
        }
        #expect(try DNSView(reply.rawSpan).responseCode == DNSResponseCode.serverFailure.rawValue)
        // Servers that go away meanwhile.
        var shrinking = Forwarder(servers: 2)
        _ = try start(&shrinking)
        shrinking.servers = 0
        guard case .reply? = shrinking.tick(now: 10 * second).first else {
            Issue.record("not answered")
            return
        }
    }

    @Test func aFloodIsBounded() {
        var forwarder = Forwarder(servers: 1)
        var asked = 0
        for number in 0..<5000 {
            let name = "a\(number).example.org"
            asked += forwarder.forward(query(name), question(name), from: "guest", randomID: 1, now: 0).count
        }
        #expect(asked == Forwarder.maximumTransactions)
    }

    // MARK: resolv.conf

    @Test func resolverConfigurationIsRead() {
        let text = "# comment\nnameserver 127.0.0.53\nnameserver\t9.9.9.9\n; another\nsearch corp.example.org example.org\noptions edns0\nnameserver fe80::1%eth0\nnameserver 1.1.1.1\n"
        let configuration = ResolverConfiguration(parsing: text)
        #expect(configuration.servers == ["127.0.0.53", "9.9.9.9", "fe80::1%eth0"])
        #expect(configuration.domain == "corp.example.org")
        #expect(configuration.search == ["corp.example.org", "example.org"])
        #expect(ResolverConfiguration(parsing: "search a b\ndomain c\n").search == ["c"], "the last line counts")
        #expect(ResolverConfiguration(parsing: "search .\n").domain == nil)
        #expect(ResolverConfiguration(parsing: "").servers.isEmpty)
    }
}
