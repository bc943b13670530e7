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

    @Test(arguments: ["", ".", "a..b", String(repeating: "a", count: 64), Array(repeating: "abcdefg", count: 33).joined(separator: ".")])
    func otherNamesAreNot(text: String) {
        #expect(DNSName(text) == nil)
    }

    @Test func queriesRoundTrip() throws {
        let question = DNSQuestion(name: name, type: DNSType.aaaa)
        let bytes = DNSMessage.query(id: 0xabcd, question)
        let view = try DNSView(bytes.rawSpan)
        #expect(view.id == 0xabcd && !view.isResponse && view.wantsRecursion && view.operation == 0)
        #expect(try view.question() == question)
        for length in 0..<bytes.count {
            #expect(throws: WireError.truncated) { _ = try DNSView(bytes.rawSpan.extracting(0..<length)).question() }
        }
    }

    @Test func answersCarryTheirRecords() throws {
        let question = DNSQuestion(name: name, type: DNSType.a)
        let bytes = DNSMessage.answer(id: 1, wantsRecursion: true, question: question, records: [[192, 0, 2, 1], [192, 0, 2, 2]], timeToLive: 60)
        let view = try DNSView(bytes.rawSpan)
        #expect(view.isResponse && view.responseCode == 0 && view.answerCount == 2)
        #expect(try view.addresses() == ["192.0.2.1", "192.0.2.2"])
        for length in DNSView.headerLength..<bytes.count {
            #expect(throws: WireError.truncated) { _ = try DNSView(bytes.rawSpan.extracting(0..<length)).addresses() }
        }
        let six = DNSMessage.answer(id: 1, wantsRecursion: true, question: DNSQuestion(name: name, type: DNSType.aaaa), records: [[UInt8](repeating: 0, count: 15) + [1]], timeToLive: 60)
        #expect(try DNSView(six.rawSpan).addresses() == ["0:0:0:0:0:0:0:1"])
    }

    @Test func failuresNameTheirCode() throws {
        let bytes = DNSMessage.failure(id: 7, wantsRecursion: false, question: nil, code: .formatError)
        let view = try DNSView(bytes.rawSpan)
        #expect(view.isResponse && view.responseCode == 1 && view.questionCount == 0)
        #expect(throws: WireError.badField) { _ = try view.question() }
    }

    @Test func compressionPointersMustPointBack() throws {
        // A pointer to itself, and two that point at each other.
        for tail in [[0xc0, 12], [0xc0, 14, 0xc0, 12]] as [[UInt8]] {
            let bytes: [UInt8] = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] + tail + [0, 1, 0, 1]
            #expect(throws: WireError.badField) { _ = try DNSView(bytes.rawSpan).question() }
        }
        // One that points back to a name is followed, and parsing goes on behind the pointer.
        let bytes: [UInt8] = [1, 0x61, 0, 2, 0x62, 0x63, 0xc0, 0, 9]
        var offset = 3
        #expect(try DNSName(parsing: bytes.rawSpan, at: &offset).description == "bc.a")
        #expect(offset == 8)
    }

    @Test func hostileMessagesDoNotTrap() {
        let bytes = DNSMessage.answer(id: 1, wantsRecursion: true, question: DNSQuestion(name: name, type: DNSType.a), records: [[192, 0, 2, 1]], timeToLive: 60)
        fuzz(bytes) { bytes in
            guard let view = try? DNSView(bytes.rawSpan) else { return }
            _ = try? view.question()
            _ = try? view.addresses()
        }
    }
}
