// SPDX-License-Identifier: Apache-2.0
import NameService
import TestSupport
import Testing
import Wire

@Suite struct DNSQueryClassifierTests {
    private func query(_ name: String, id: UInt16 = 7, type: UInt16 = DNSType.a) -> [UInt8] {
        DNSMessage.query(id: id, DNSQuestion(name: DNSName(name)!, type: type))
    }

    private func question(_ name: String) -> DNSQuestion { DNSQuestion(name: DNSName(name)!, type: DNSType.a) }

    // MARK: Triage

    @Test func localhostIsAnsweredLocally() throws {
        for name in ["localhost", "LOCALHOST.", "a.localhost"] {
            guard case .answer(let answer) = DNSQueryClassifier.classify(query(name).rawSpan) else {
                Issue.record("\(name) was not answered")
                continue
            }
            let view = try DNSView(answer.rawSpan)
            #expect(view.id == 7)
            #expect(try view.addresses() == ["127.0.0.1"])
        }
        guard case .answer(let six) = DNSQueryClassifier.classify(query("localhost", type: DNSType.aaaa).rawSpan) else {
            return
        }
        #expect(try DNSView(six.rawSpan).addresses() == ["::1"])
    }

    @Test func otherNamesAreForwarded() {
        #expect(DNSQueryClassifier.classify(query("www.example.org").rawSpan) == .forward(question("www.example.org")))
        #expect(DNSQueryClassifier.classify(query("notlocalhost").rawSpan) == .forward(question("notlocalhost")))
    }

    @Test func responsesAndMalformedMessagesAreIgnored() throws {
        let answer = DNSMessage.answer(
            id: 1, isRecursionDesired: true, question: question("a.b"), records: [], timeToLive: 0)
        #expect(DNSQueryClassifier.classify(answer.rawSpan) == .ignore)
        #expect(DNSQueryClassifier.classify([1, 2, 3].rawSpan) == .ignore)
        var update = query("a.b")
        update[2] |= 5 << 3
        guard case .answer(let refusal) = DNSQueryClassifier.classify(update.rawSpan) else {
            Issue.record("not answered")
            return
        }
        #expect(try DNSView(refusal.rawSpan).responseCode == DNSResponseCode.notImplemented.rawValue)
        let short = Array(query("a.b").prefix(15))
        guard case .answer(let error) = DNSQueryClassifier.classify(short.rawSpan) else {
            Issue.record("not answered")
            return
        }
        #expect(try DNSView(error.rawSpan).responseCode == DNSResponseCode.formatError.rawValue)
    }

    @Test func unforwardableQueryGetsAnError() throws {
        func code(_ change: (inout [UInt8]) -> Void) throws -> UInt8? {
            var message = query("www.example.org")
            change(&message)
            guard case .answer(let answer) = DNSQueryClassifier.classify(message.rawSpan) else { return nil }
            let view = try DNSView(answer.rawSpan)
            #expect(view.isResponse && view.id == 7 && view.operation == message[2] >> 3 & 0xf)
            return view.responseCode
        }
        for operation in 1...15 as ClosedRange<UInt8> {
            #expect(try code { $0[2] |= operation << 3 } == 4, "NOTIMP for operation \(operation)")
        }
        #expect(try code { $0[5] = 0 } == 1, "no question (RFC 9619)")
        #expect(try code { $0[5] = 2 } == 1, "two questions")
        #expect(try code { $0[12] = 0xc0 } == 1, "a name that points at the header")
        #expect(try code { $0[12] = 0x80 } == 1, "a label of an unknown kind")
        for type in [DNSType.axfr, DNSType.ixfr] {
            #expect(try code { $0.replaceSubrange(29..<31, with: [0, UInt8(type)]) } == 5, "zone transfers")
        }
    }

    /// Whatever a guest sends, a query is answered or forwarded, and an answer never.
    @Test func everyQueryHeaderGetsAResponse() throws {
        fuzz(query("www.example.org")) { bytes in
            switch DNSQueryClassifier.classify(bytes.rawSpan) {
            case .ignore: #expect(bytes.count < 12 || bytes[2] & 0x80 != 0)
            case .forward: #expect(bytes[2] & 0xf8 == 0)
            case .answer(let answer):
                #expect((try? DNSView(answer.rawSpan))?.isResponse == true && answer[0..<2] == bytes[0..<2])
            }
        }
    }

    // MARK: resolv.conf

    @Test func resolverConfigurationIsRead() {
        let text =
            "# comment\nnameserver 127.0.0.53\nnameserver\t9.9.9.9\n; another\nsearch corp.example.org example.org\n"
            + "options edns0\nnameserver fe80::1%eth0\nnameserver 1.1.1.1\n"
        let configuration = ResolverConfiguration(parsing: text)
        #expect(configuration.servers == ["127.0.0.53", "9.9.9.9", "fe80::1%eth0"])
        #expect(configuration.domain == "corp.example.org")
        #expect(configuration.search == ["corp.example.org", "example.org"])
        #expect(ResolverConfiguration(parsing: "search a b\ndomain c\n").search == ["c"], "the last line counts")
        #expect(ResolverConfiguration(parsing: "search .\n").domain == nil)
        #expect(ResolverConfiguration(parsing: "").servers.isEmpty)
    }
}
