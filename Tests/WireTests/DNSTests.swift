// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct DNSTests {
    private let name = DNSName("www.example.org")!

    @Test func namesCompareWithoutCase() {
        #expect(DNSName("WWW.Example.ORG.") == name)
        #expect(name.description == "www.example.org")
        #expect(DNSName("www.example.com") != name)
        #expect(name.isWithin(DNSName("example.org")!))
        #expect(!DNSName("badexample.org")!.isWithin(DNSName("example.org")!))
    }

    @Test func reverseZonesAreNetworks() {
        func network(_ name: String) -> String? {
            switch DNSReverseZone(DNSName(name)!)?.addresses {
            case .ipv4(let network)?: "\(network)"
            case .ipv6(let network)?: "\(network)"
            case nil: nil
            }
        }
        for (name, expected) in [
            ("10.in-addr.arpa", "10.0.0.0/8"), ("105.168.192.IN-ADDR.arpa", "192.168.105.0/24"),
            ("7.105.168.192.in-addr.arpa", "192.168.105.7/32"), ("a.7.105.168.192.in-addr.arpa", "192.168.105.7/32"),
            ("d.f.ip6.arpa", "fd00::/8"), ("8.b.d.0.1.0.0.2.ip6.arpa", "2001:db8::/32"),
        ] {
            #expect(network(name) == expected, "\(name)")
        }
        for name in ["in-addr.arpa", "ip6.arpa", "arpa", "256.in-addr.arpa", "x.in-addr.arpa", "10.ip6.arpa", "a.b.c"] {
            #expect(network(name) == nil, "\(name)")
        }
    }

    /// A label may have any bytes. As text they are in ASCII, and do not look like the end of a label or a line.
    @Test func textOfAnyBytesIsUnambiguous() throws {
        let labels: [[UInt8]] = [
            Array("evil.example\r\n".utf8), [0, 0xff, 0x7f], Array("a\\b c".utf8), Array("x".utf8),
        ]
        let bytes: [UInt8] = labels.flatMap { [UInt8($0.count)] + $0 } + [0]
        var offset = 0
        let name = try DNSName(parsing: bytes.rawSpan, at: &offset)
        #expect(name.description == "evil\\046example\\013\\010.\\000\\255\\127.a\\092b\\032c.x")
        #expect(name.bytes == bytes && !name.isHostName)
        for text in ["www.example.org", "_x.a-1"] { #expect(DNSName(text)!.isHostName, "\(text)") }
        for text in ["a b.org", "a:1.org", "\u{e9}.org"] { #expect(!DNSName(text)!.isHostName, "\(text)") }
    }

    @Test(arguments: [
        "", ".", "a..b", String(repeating: "a", count: 64),
        Array(repeating: "abcdefg", count: 33).joined(separator: "."),
    ])
    func otherNamesAreRejected(text: String) {
        #expect(DNSName(text) == nil)
    }

    @Test func queriesRoundTrip() throws {
        let question = DNSQuestion(name: name, type: DNSType.aaaa)
        let bytes = DNSMessage.query(id: 0xabcd, question)
        let view = try DNSView(bytes.rawSpan)
        #expect(view.id == 0xabcd && !view.isResponse && view.isRecursionDesired && view.operation == 0)
        #expect(try view.question() == question)
        for length in 0..<bytes.count {
            #expect(throws: WireError.truncated) { _ = try DNSView(bytes.rawSpan.extracting(0..<length)).question() }
        }
    }

    @Test func answersCarryTheirRecords() throws {
        let question = DNSQuestion(name: name, type: DNSType.a)
        let bytes = DNSMessage.answer(
            id: 1, isRecursionDesired: true, question: question, records: [[192, 0, 2, 1], [192, 0, 2, 2]],
            timeToLive: 60)
        let view = try DNSView(bytes.rawSpan)
        #expect(view.isResponse && view.responseCode == 0 && view.answerCount == 2)
        #expect(try view.addresses() == ["192.0.2.1", "192.0.2.2"])
        for length in DNSView.headerLength..<bytes.count {
            #expect(throws: WireError.truncated) { _ = try DNSView(bytes.rawSpan.extracting(0..<length)).addresses() }
        }
        let six = DNSMessage.answer(
            id: 1, isRecursionDesired: true, question: DNSQuestion(name: name, type: DNSType.aaaa),
            records: [[UInt8](repeating: 0, count: 15) + [1]], timeToLive: 60)
        #expect(try DNSView(six.rawSpan).addresses() == ["::1"])
    }

    @Test func failuresNameTheirCode() throws {
        let bytes = DNSMessage.failure(id: 7, isRecursionDesired: false, question: nil, code: .formatError)
        let view = try DNSView(bytes.rawSpan)
        #expect(view.isResponse && view.responseCode == 1 && view.questionCount == 0)
        #expect(throws: WireError.badField) { _ = try view.question() }
    }

    @Test func compressionPointersMustPointBackwards() throws {
        // A pointer to itself, and two that point at each other.
        for tail in [[0xc0, 12], [0xc0, 14, 0xc0, 12]] as [[UInt8]] {
            let bytes: [UInt8] = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] + tail + [0, 1, 0, 1]
            #expect(throws: WireError.badField) { _ = try DNSView(bytes.rawSpan).question() }
        }
        // One that points back to a name is followed, and parsing goes on after the pointer.
        let bytes: [UInt8] = [1, 0x61, 0, 2, 0x62, 0x63, 0xc0, 0, 9]
        var offset = 3
        #expect(try DNSName(parsing: bytes.rawSpan, at: &offset).description == "bc.a")
        #expect(offset == 8)
    }

    private func extendedQuery(size: UInt16 = 4096) -> [UInt8] {
        var writer = ByteWriter()
        writer.put(DNSMessage.query(id: 9, DNSQuestion(name: name, type: DNSType.a)))
        ExtendedDNS(payloadSize: size, codeAndFlags: 0x8000).emit(into: &writer)
        writer.patch16(1, at: 10)
        return writer.bytes
    }

    @Test func optRecordIsFoundBehindOtherRecords() throws {
        let query = extendedQuery()
        let found = try DNSView(query.rawSpan).extended()
        #expect(found == ExtendedDNS(payloadSize: 4096, codeAndFlags: 0x8000))
        for length in 33..<query.count {
            #expect(throws: WireError.truncated) { _ = try DNSView(query.rawSpan.extracting(0..<length)).extended() }
        }
        #expect(
            try DNSView(DNSMessage.query(id: 1, DNSQuestion(name: name, type: DNSType.a)).rawSpan).extended() == nil)
        var answer = DNSMessage.answer(
            id: 1, isRecursionDesired: true, question: DNSQuestion(name: name, type: DNSType.a),
            records: [[192, 0, 2, 1]],
            timeToLive: 60)
        answer += query.suffix(11)
        answer[11] = 1
        #expect(try DNSView(answer.rawSpan).extended()?.payloadSize == 4096)
    }

    @Test func failureMatchesItsQuery() throws {
        var query = extendedQuery()
        // Letters as the client wrote them, by which it may distinguish its answers from forged ones.
        query[13] = UInt8(ascii: "W")
        query[3] |= 0x10
        let bytes = DNSMessage.failure(of: try DNSView(query.rawSpan), code: .serverFailure)
        let view = try DNSView(bytes.rawSpan)
        #expect(
            view.isResponse && view.responseCode == 2 && view.id == 9 && view.isRecursionDesired && view.operation == 0)
        #expect(bytes[3] & 0x90 == 0x90, "RA and CD")
        #expect(bytes[12..<33] == query[12..<33])
        #expect(try view.extended() == ExtendedDNS(payloadSize: 1232, codeAndFlags: 0x8000))
        // An operation is answered as what it is.
        query[2] = 5 << 3
        #expect(
            try DNSView(DNSMessage.failure(of: DNSView(query.rawSpan), code: .notImplemented).rawSpan).operation == 5)
        // What cannot be read is not repeated.
        let broken = Array(extendedQuery().prefix(20))
        #expect(
            try DNSView(DNSMessage.failure(of: DNSView(broken.rawSpan), code: .formatError).rawSpan).questionCount == 0)
    }

    @Test func truncatedAnswersKeepTheirExtension() throws {
        var answer = DNSMessage.answer(
            id: 7, isRecursionDesired: true, question: DNSQuestion(name: name, type: DNSType.a),
            records: [[192, 0, 2, 1]],
            timeToLive: 60)
        answer += extendedQuery().suffix(11)
        answer[11] = 1
        let short = try #require(DNSMessage.truncated(answer))
        let view = try DNSView(short.rawSpan)
        #expect(view.isTruncated && view.isResponse && view.id == 7 && view.answerCount == 0)
        #expect(try view.extended()?.payloadSize == 4096)
        #expect(try view.question() == DNSQuestion(name: name, type: DNSType.a))
        fuzz(answer) { bytes in
            guard let short = DNSMessage.truncated(bytes) else { return }
            #expect((try? DNSView(short.rawSpan).question()) != nil && short.count <= bytes.count + 11)
        }
    }

    @Test func hostileMessagesDoNotTrap() {
        let bytes = DNSMessage.answer(
            id: 1, isRecursionDesired: true, question: DNSQuestion(name: name, type: DNSType.a),
            records: [[192, 0, 2, 1]],
            timeToLive: 60)
        fuzz(bytes) { bytes in
            guard let view = try? DNSView(bytes.rawSpan) else { return }
            _ = try? view.question()
            _ = try? view.addresses()
            _ = try? view.extended()
            _ = DNSMessage.failure(of: view, code: .refused)
        }
    }
}
