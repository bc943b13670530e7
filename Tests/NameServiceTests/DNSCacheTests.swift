// SPDX-License-Identifier: Apache-2.0
import NameService
import TestSupport
import Testing
import Timing
import Wire

/// Queries and responses as a resolver sends them.
private enum Message {
    static let soa: [UInt8] = [1, 0x61, 0, 1, 0x62, 0] + [UInt8](repeating: 1, count: 16)

    static func query(
        _ name: String = "www.example.org", type: UInt16 = DNSType.a, flags: UInt16 = 0x0100, opt: ExtendedDNS? = nil
    ) -> [UInt8] {
        var writer = ByteWriter()
        writer.put(DNSMessage.query(id: 7, DNSQuestion(name: DNSName(name)!, type: type)))
        writer.patch16(flags, at: DNSView.Field.flags)
        if let opt {
            opt.emit(into: &writer)
            writer.patch16(1, at: DNSView.Field.additionalCount)
        }
        return writer.bytes
    }

    /// A record of the question's name.
    static func record(_ type: UInt16, _ seconds: UInt32, _ data: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.put16(0xc00c)
        writer.put16(type)
        writer.put16(1)
        writer.put32(seconds)
        writer.put16(UInt16(data.count))
        writer.put(data)
        return writer.bytes
    }

    static func response(
        to query: [UInt8], code: DNSResponseCode = .noError, answers: [[UInt8]] = [], authority: [[UInt8]] = [],
        additional: [[UInt8]] = [], flags: UInt16 = 0
    ) -> [UInt8] {
        var writer = ByteWriter()
        writer.put(query)
        writer.patch16(query.rawSpan.big16(at: 2) | 0x8480 | flags | UInt16(code.rawValue), at: DNSView.Field.flags)
        writer.patch16(UInt16(answers.count), at: DNSView.Field.answerCount)
        writer.patch16(UInt16(authority.count), at: DNSView.Field.authorityCount)
        writer.patch16(UInt16(additional.count), at: DNSView.Field.additionalCount)
        for record in answers + authority + additional { writer.put(record) }
        return writer.bytes
    }

    static func negative(_ minimum: UInt32) -> [UInt8] {
        var writer = ByteWriter()
        writer.put32(minimum)
        return soa + writer.bytes
    }
}

@Suite struct DNSCacheTests {
    private static let guest = DNSGuest(port: 1, address: IPv4Address(1))
    private static let address: [UInt8] = [192, 0, 2, 1]
    private let start = Instant.distantPast + .seconds(1)

    private func key(_ query: [UInt8]) -> DNSCache.Key? { DNSCache.Key(query) }

    /// What a cache with that one response has for the same query, some seconds later.
    private func kept(_ response: [UInt8], for query: [UInt8], after seconds: Int64) -> [UInt8]? {
        var cache = DNSCache()
        guard let key = DNSCache.Key(query) else { return nil }
        cache.store(response, key, of: DNSCacheTests.guest, now: start)
        return cache.response(to: query, key, now: start + .seconds(seconds))
    }

    private func lifetime(_ response: [UInt8], for query: [UInt8]) -> Int64 {
        var low: Int64 = 0, high: Int64 = 1 << 33
        while low < high {
            let middle = (low + high) / 2
            if kept(response, for: query, after: middle) == nil { high = middle } else { low = middle + 1 }
        }
        return low
    }

    @Test func hitHasIDLettersAndTimesThatAreLeft() throws {
        let query = Message.query(),
            other = Message.query().enumerated().map { index, byte in
                index == 1 ? 9 : index == 13 ? UInt8(ascii: "W") : byte
            }
        let response = Message.response(
            to: query, answers: [Message.record(1, 60, DNSCacheTests.address)],
            authority: [Message.record(2, 90, [1, 0x61, 0])])
        let stored = try #require(key(query)), found = try #require(key(other))
        var cache = DNSCache()
        cache.store(response, stored, of: DNSCacheTests.guest, now: start)
        let kept = cache.response(to: other, found, now: start + .milliseconds(30_999))
        let hit = try #require(kept)
        #expect(hit.count == response.count && hit[0...1] == [0, 9] && hit[13] == UInt8(ascii: "W"))
        let view = try DNSView(hit.rawSpan), records = try view.records(limit: 9)
        #expect(records.map(\.timeToLive) == [30, 60] && hit[2] & 4 == 0, "no AA")
        #expect(try view.addresses() == ["192.0.2.1"])
        #expect(lifetime(response, for: query) == 60)
    }

    @Test func negativeResponsesAreKeptAsTheirSOASays() {
        let query = Message.query()
        func lifetime(_ seconds: UInt32, _ minimum: UInt32, _ code: DNSResponseCode = .nameError) -> Int64 {
            self.lifetime(
                Message.response(
                    to: query, code: code, authority: [Message.record(6, seconds, Message.negative(minimum))]),
                for: query)
        }
        #expect(lifetime(300, 20) == 20 && lifetime(20, 300) == 20 && lifetime(1 << 20, 1 << 20) == 10_800)
        #expect(lifetime(300, 20, .noError) == 20 && lifetime(300, 0) == 0)
        // An alias to a name without a record of the type.
        let alias = Message.response(
            to: query, answers: [Message.record(5, 60, [1, 0x61, 0])],
            authority: [Message.record(6, 300, Message.negative(20))])
        #expect(self.lifetime(alias, for: query) == 20)
        #expect(self.lifetime(Message.response(to: query, code: .nameError), for: query) == 0, "no SOA")
        #expect(
            self.lifetime(
                Message.response(to: query, answers: [Message.record(5, 60, [1, 0x61, 0])]), for: query) == 0)
        let hit = kept(
            Message.response(
                to: query, code: .nameError, authority: [Message.record(6, 300, Message.negative(20))]),
            for: query, after: 5)
        #expect(hit.flatMap { try? DNSView($0.rawSpan).records(limit: 1).first?.timeToLive } == 15)
    }

    @Test func whatMustNotBeKeptIsNot() {
        let query = Message.query(), record = Message.record(1, 60, DNSCacheTests.address)
        #expect(lifetime(Message.response(to: query, answers: [record]), for: query) == 60)
        for code in [DNSResponseCode.serverFailure, .refused, .notImplemented, .formatError] {
            #expect(lifetime(Message.response(to: query, code: code, answers: [record]), for: query) == 0)
        }
        for response in [
            Message.response(to: query, answers: [record], flags: DNSView.Flags.truncated),
            Message.response(to: query, answers: [Message.record(1, 0, DNSCacheTests.address)]),
            Message.response(to: query, answers: [Message.record(1, .max, DNSCacheTests.address)]),
            Message.response(to: query, answers: [record], additional: [Message.record(1, 0, DNSCacheTests.address)]),
            Message.response(to: query, answers: [record], additional: [Message.record(250, 60, [0])]),
            Message.response(to: query, answers: [Message.record(1, 60, .init(repeating: 0, count: 5000))]),
            Array(Message.response(to: query, answers: [record]).dropLast()), [1, 2, 3],
        ] {
            #expect(lifetime(response, for: query) == 0)
        }
        #expect(
            lifetime(
                Message.response(to: query, answers: [Message.record(1, 1 << 30, DNSCacheTests.address)]), for: query)
                == 86_400)
    }

    @Test func differentQueriesHaveDifferentKeys() throws {
        let queries = [
            Message.query(), Message.query("example.org"), Message.query(type: 28), Message.query(flags: 0),
            Message.query(flags: 0x0110), Message.query(flags: 0x0120),
            Message.query(opt: ExtendedDNS(payloadSize: 1232)),
            Message.query(opt: ExtendedDNS(payloadSize: 1232, codeAndFlags: 0x8000)),
        ]
        #expect(Set(queries.compactMap { key($0) }).count == queries.count)
        #expect(key(Message.query(opt: ExtendedDNS(payloadSize: 512))) == key(queries[6]), "the length does not count")
        var letters = queries[0]
        letters[13] = UInt8(ascii: "W")
        #expect(key(letters) == key(queries[0]))
        var options = queries[6], records = queries[0]
        options[options.count - 1] = 4
        options += [0, 10, 0, 0]
        records[7] = 1
        for query in [options, records, Message.query(type: 255), Message.query(type: 252), queries[0] + [0]] {
            #expect(key(query) == nil)
        }
    }

    @Test func cacheIsBoundedAndFair() throws {
        var cache = DNSCache(limit: 100)
        func store(_ name: String, _ guest: DNSGuest) {
            let query = Message.query(name)
            cache.store(
                Message.response(to: query, answers: [Message.record(1, 60, DNSCacheTests.address)]),
                DNSCache.Key(query)!, of: guest, now: start)
        }
        func has(_ name: String) -> Bool {
            cache.response(to: Message.query(name), DNSCache.Key(Message.query(name))!, now: start) != nil
        }
        let victim = DNSGuest(port: 2, address: IPv4Address(2))
        for number in 0..<10 { store("v\(number).example", victim) }
        // From many addresses behind one port.
        for number in 0..<5000 {
            store("n\(number).example", DNSGuest(port: 1, address: IPv4Address(UInt32(100 + number % 30))))
        }
        #expect(cache.count == 100 && (0..<10).allSatisfy { has("v\($0).example") })
        #expect(has("n4999.example") && !has("n0.example"))
        store("v0.example", victim)
        #expect(cache.count == 100, "the same once more")
        cache.removeAll()
        #expect(cache.count == 0 && !has("v0.example"))
        var none = DNSCache(limit: 0)
        none.store([], DNSCache.Key(Message.query())!, of: victim, now: start)
        #expect(none.count == 0)
    }

    /// Whatever is stored, looked up and removed: the bounds hold, and a hit is what was stored.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func entriesStayConsistent(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed), cache = DNSCache(limit: 16), now = start, wrong = 0
        for _ in 0..<3000 {
            let number = UInt8.random(in: 0..<40, using: &random), query = Message.query("n\(number).example")
            let key = try #require(DNSCache.Key(query))
            if Bool.random(using: &random) {
                let seconds = UInt32.random(in: 0...9, using: &random)
                let guest = DNSGuest(port: UInt16(number % 3), address: IPv4Address(UInt32(number % 7)))
                cache.store(
                    Message.response(to: query, answers: [Message.record(1, seconds, [192, 0, 2, number])]), key,
                    of: guest, now: now)
            } else if let hit = cache.response(to: query, key, now: now) {
                wrong += hit.last == number ? 0 : 1
            }
            now += .milliseconds(Int64.random(in: 0...500, using: &random))
            wrong += cache.count <= 16 ? 0 : 1
        }
        #expect(wrong == 0)
    }

    @Test func hostileMessagesAreHarmless() throws {
        let query = Message.query(opt: ExtendedDNS(payloadSize: 1232))
        fuzz(query) { _ = DNSCache.Key($0) }
        let plain = Message.query(), key = try #require(DNSCache.Key(plain))
        var wrong = 0
        fuzz(
            Message.response(
                to: plain, answers: [Message.record(5, 60, [1, 0x61, 0xc0, 0x0c])],
                authority: [Message.record(6, 60, Message.negative(5))])
        ) { bytes in
            var cache = DNSCache()
            cache.store(bytes, key, of: DNSCacheTests.guest, now: start)
            if let hit = cache.response(to: plain, key, now: start), hit.count != bytes.count { wrong += 1 }
        }
        #expect(wrong == 0)
    }
}
