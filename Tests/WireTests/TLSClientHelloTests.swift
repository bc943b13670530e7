// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A ClientHello (RFC 8446 section 4.1.2) in parts.
enum SampleHello {
    static func vector16(_ bytes: [UInt8]) -> [UInt8] { [UInt8(bytes.count >> 8), UInt8(bytes.count & 0xff)] + bytes }

    static func serverName(_ name: String) -> [UInt8] {
        [0, 0] + vector16(vector16([0] + vector16(Array(name.utf8))))
    }

    static func message(_ extensions: [UInt8]?) -> [UInt8] {
        let body =
            [3, 3] + [UInt8](repeating: 7, count: 32) + [0] + vector16([0x13, 1]) + [1, 0]
            + (extensions.map(vector16) ?? [])
        return [1, 0, UInt8(body.count >> 8), UInt8(body.count & 0xff)] + body
    }

    static func records(_ message: [UInt8], of size: Int = 16_384) -> [UInt8] {
        stride(from: 0, to: message.count, by: size).flatMap { start in
            [22, 3, 1] + vector16(Array(message[start..<min(start + size, message.count)]))
        }
    }
}

@Suite struct TLSClientHelloTests {
    private func read(_ bytes: [UInt8]) -> TLSClientHello.Outcome { TLSClientHello.read(bytes.rawSpan) }

    private func hello(_ extensions: [UInt8]?) -> TLSClientHello? {
        guard case .complete(let hello, _) = read(SampleHello.records(SampleHello.message(extensions))) else {
            return nil
        }
        return hello
    }

    @Test func nameIsFoundInAnyDivisionIntoRecords() {
        let message = SampleHello.message([0, 43, 0, 3, 2, 3, 4] + SampleHello.serverName("site.example"))
        for size in [1, 2, 3, 4, 5, 40, message.count] {
            let bytes = SampleHello.records(message, of: size)
            guard case .complete(let hello, let length) = read(bytes + [23, 3, 3, 0, 1, 0]) else {
                Issue.record("records of \(size)")
                continue
            }
            #expect(hello.name == "site.example" && length == bytes.count && !hello.hidesName && !hello.hasEarlyData)
            for end in 0..<bytes.count { #expect(read(Array(bytes[..<end])) == .incomplete, "\(size), \(end)") }
        }
    }

    @Test func extensionsAreNoticed() {
        #expect(hello(nil)?.name == nil && hello(nil) != nil && hello([])?.name == nil)
        let name = SampleHello.serverName("a.example")
        #expect(hello(name + [0xfe, 0x0d, 0, 1, 0])?.hidesName == true)
        #expect(hello(name + [0xff, 0xce, 0, 0])?.hidesName == true)
        #expect(hello(name + [0, 42, 0, 0])?.hasEarlyData == true)
    }

    @Test func ambiguousMessagesAreMalformed() {
        let name = SampleHello.serverName("a.example"), vector = SampleHello.vector16
        let two =
            [0, 0] + vector(vector([0] + vector(Array("a.example".utf8)) + [0] + vector(Array("b.example".utf8))))
        let bad: [[UInt8]] = [
            name + name, two, [0, 0, 0, 0], [0, 0] + vector(vector([1] + vector([65]))),
            [0, 0] + vector(vector([0] + vector([]))), [0, 0] + vector(vector([0] + vector([65, 0]))),
            name + [0, 43, 0, 9],
        ]
        for extensions in bad {
            #expect(read(SampleHello.records(SampleHello.message(extensions))) == .malformed, "\(extensions)")
        }
        let message = SampleHello.message(name)
        #expect(read(SampleHello.records(message + message)) == .malformed, "a second message in the same record")
        for bytes: [UInt8] in [[23, 3, 1, 0, 1], [22, 2, 0, 0, 1], [22, 3, 1, 0, 0], [22, 3, 1, 0, 1, 2]] {
            #expect(read(bytes) == .malformed, "\(bytes)")
        }
    }

    @Test func changedAndRandomBytesDoNoHarm() {
        var random = SeededGenerator(seed: 20)
        let whole = SampleHello.records(SampleHello.message(SampleHello.serverName("site.example")), of: 30)
        for _ in 0..<Rounds.of(20_000) {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = .random(in: 0...255, using: &random)
            }
            if case .complete(_, let length) = read(Array(bytes.prefix(.random(in: 0...bytes.count, using: &random)))) {
                #expect(length <= bytes.count)
            }
        }
    }
}
