// SPDX-License-Identifier: Apache-2.0
import NameService
import NetworkModel
import TestSupport
import Testing
import Wire

@Suite struct NameFilterTests {
    private var policy: EgressPolicy {
        var policy = EgressPolicy()
        policy.isDenying = true
        policy.allowed = ["site.example:443", "*.debian.example", "10.1.0.0/16"].compactMap { AllowedDestination($0) }
        return policy
    }

    private func question(_ name: String, _ type: UInt16 = DNSType.a) -> DNSQuestion {
        DNSQuestion(name: DNSName(name)!, type: type)
    }

    /// A record with its name without compression.
    private func record(_ name: String, _ type: UInt16, _ data: [UInt8], timeToLive: UInt32 = 60) -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        question(name, type).emit(into: &writer)
        writer.put32(timeToLive)
        writer.put16(UInt16(data.count))
        writer.put(data)
        return writer.bytes
    }

    private func address(_ name: String, _ text: String, timeToLive: UInt32 = 60) -> [UInt8] {
        IPv4Address(text).map { record(name, DNSType.a, $0.bytes, timeToLive: timeToLive) }
            ?? record(name, DNSType.aaaa, IPv6Address(text)!.bytes, timeToLive: timeToLive)
    }

    private func alias(_ name: String, _ target: String) -> [UInt8] {
        record(name, DNSType.canonicalName, DNSName(target)!.bytes)
    }

    private func response(_ question: DNSQuestion, _ answers: [[UInt8]], additional: [[UInt8]] = []) -> [UInt8] {
        var message = DNSMessage.query(id: 7, question)
        message[2] |= 0x80
        message[DNSView.Field.answerCount] = UInt8(answers.count >> 8)
        message[DNSView.Field.answerCount + 1] = UInt8(truncatingIfNeeded: answers.count)
        message[DNSView.Field.additionalCount + 1] = UInt8(additional.count)
        return message + answers.joined() + additional.joined()
    }

    private func found(_ message: [UInt8]) -> [String]? {
        guard case .pass(_, let found) = NameFilter.judge(response: message, under: policy) else { return nil }
        return found.map { "\($0.address) \($0.timeToLive)" }
    }

    // MARK: Queries

    @Test func nameOfQueryDecides() {
        func verdict(_ name: String, _ type: UInt16 = DNSType.a) -> NameFilter.QueryVerdict {
            NameFilter.judge(question(name, type), under: policy)
        }
        #expect(verdict("site.example") == .forward && verdict("SITE.example", 16) == .forward)
        #expect(verdict("deb.debian.example", DNSType.aaaa) == .forward)
        for name in ["debian.example", "www.site.example", "example", "com", "1.113.0.203.in-addr.arpa"] {
            #expect(verdict(name) == .noSuchName, "\(name)")
        }
        #expect(verdict("site.example", DNSType.any) == .refused)
        #expect(verdict("site.example", DNSType.https) == .noRecords)
        #expect(verdict("site.example", DNSType.service) == .noRecords)
        var chaos = question("site.example")
        chaos.recordClass = 3
        #expect(NameFilter.judge(chaos, under: policy) == .refused)
    }

    @Test func policyWithoutNamesForwardsAll() {
        var policy = EgressPolicy()
        #expect(NameFilter.judge(question("any.example", DNSType.https), under: policy) == .forward)
        policy.isDenying = true
        policy.allowed = [AllowedDestination("10.0.0.0/8")!]
        #expect(NameFilter.judge(question("any.example"), under: policy) == .forward)
        let message = response(question("any.example"), [address("any.example", "10.0.0.1")])
        #expect(NameFilter.judge(response: message, under: policy) == .pass(message, []))
    }

    // MARK: Responses

    @Test func addressesAreFoundThroughAliases() {
        let site = question("site.example")
        #expect(found(response(site, [address("site.example", "203.0.113.7")])) == ["203.0.113.7 60"])
        let chain = [
            address("end.forbidden.example", "203.0.113.9"), alias("cdn.forbidden.example", "end.forbidden.example"),
            alias("site.example", "CDN.forbidden.example"), address("other.example", "203.0.113.66"),
        ]
        #expect(found(response(site, chain)) == ["203.0.113.9 60"], "other names are not pinned")
        let circle = [alias("site.example", "a.example"), alias("a.example", "site.example")]
        #expect(found(response(site, circle)) == [])
        #expect(found(response(question("forbidden.example"), [address("forbidden.example", "203.0.113.1")])) == nil)
    }

    /// A lenient client would read an address that is not pinned, or another one.
    @Test(arguments: [false, true]) func malformedAddressIsFailure(isAdditional: Bool) {
        let site = question("site.example"), good = address("site.example", "203.0.113.7")
        for (type, length) in [(DNSType.a, 5), (DNSType.a, 0), (DNSType.a, 16), (DNSType.aaaa, 4), (DNSType.aaaa, 17)] {
            let bad = record("site.example", type, [UInt8](repeating: 9, count: length))
            let message = response(site, isAdditional ? [good] : [good, bad], additional: isAdditional ? [bad] : [])
            #expect(NameFilter.judge(response: message, under: policy) == .malformed, "\(type), \(length) bytes")
        }
        let alias = record("site.example", DNSType.canonicalName, [3, 65])
        #expect(NameFilter.judge(response: response(site, [alias, good]), under: policy) == .malformed)
    }

    @Test func additionalAddressesAreNotPinned() {
        let message = response(
            question("site.example", 15), [], additional: [address("site.example", "203.0.113.7")])
        #expect(found(message) == [])
    }

    @Test(arguments: ["192.168.1.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])
    func privateAddressIsForbidden(text: String) {
        let records = [address("site.example", "203.0.113.7"), address("site.example", text)]
        let verdict = NameFilter.judge(response: response(question("site.example"), records), under: policy)
        let forbidden: IPAddress = IPv4Address(text).map { .ipv4($0) } ?? .ipv6(IPv6Address(text)!)
        #expect(verdict == .forbidden(forbidden))
    }

    @Test func explicitNetworkMayBePrivate() {
        let message = response(question("site.example"), [address("site.example", "10.1.2.3")])
        #expect(found(message) == [], "the network's rule allows it, without a pin")
    }

    @Test func timesToLiveAreLimited() throws {
        let long = address("site.example", "203.0.113.7", timeToLive: .max)
        let message = response(question("site.example"), [long, address("site.example", "203.0.113.8", timeToLive: 5)])
        guard case .pass(let passed, let found) = NameFilter.judge(response: message, under: policy) else {
            Issue.record("refused")
            return
        }
        #expect(found.map(\.timeToLive) == [3600, 5])
        #expect(try DNSView(passed.rawSpan).records(limit: 9).map(\.timeToLive) == [3600, 5])
        #expect(passed.count == message.count)
    }

    @Test func serviceRecordsAreRemoved() {
        let message = response(
            question("site.example"), [address("site.example", "203.0.113.7")],
            additional: [record("site.example", DNSType.https, [0, 1, 0])])
        #expect(NameFilter.judge(response: message, under: policy) == .noRecords)
    }

    @Test func hugeAndTruncatedResponsesAreRefused() {
        let site = question("site.example")
        let huge = response(site, (0..<600).map { address("site.example", "203.0.113.\($0 % 250 + 1)") })
        #expect(NameFilter.judge(response: huge, under: policy) == .malformed)
        let message = response(site, [alias("site.example", "a.example"), address("a.example", "203.0.113.7")])
        for length in 0..<message.count {
            #expect(
                NameFilter.judge(response: Array(message[..<length]), under: policy) == .malformed, "\(length)")
        }
    }

    @Test func fuzzedResponsesDoNotTrap() {
        var generator = SeededGenerator(seed: 11)
        let base = response(
            question("site.example"),
            [
                alias("site.example", "a.example"), address("a.example", "203.0.113.7"),
                address("a.example", "2001:db8::1"),
            ],
            additional: [record("site.example", DNSType.opt, [])])
        for _ in 0..<20_000 {
            var message = base
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                message[Int.random(in: 0..<message.count, using: &generator)] = UInt8.random(
                    in: 0...255, using: &generator)
            }
            if Bool.random(using: &generator) {
                message.removeLast(Int.random(in: 0...message.count, using: &generator))
            }
            if case .pass(let passed, let found) = NameFilter.judge(response: message, under: policy) {
                #expect(passed.count == message.count && found.allSatisfy { $0.timeToLive <= 3600 })
            }
        }
    }
}
