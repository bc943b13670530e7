// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire
@testable import UserUplink

/// What a connection's bytes may do under `--check-names`.
@Suite struct NameCheckTests {
    private static func hello(_ name: String, _ further: [UInt8] = []) -> [UInt8] {
        func vector(_ bytes: [UInt8]) -> [UInt8] { [0, UInt8(bytes.count)] + bytes }
        let extensions = [0, 0] + vector(vector([0] + vector(Array(name.utf8)))) + further
        let body = [3, 3] + [UInt8](repeating: 7, count: 32) + [0] + vector([0x13, 1]) + [1, 0] + vector(extensions)
        return [22, 3, 1] + vector([1, 0] + vector(body))
    }

    private enum Outcome: Equatable {
        case passed(Int)
        case refused(NameCheck.Reason, after: Int)
    }

    /// Feeds a stream in pieces of one size, as a connection does.
    private func run(_ stream: [UInt8], _ kind: NameCheckKind = .required, piece: Int = .max) -> Outcome {
        var check: NameCheck? = NameCheck(kind), cleared = 0, arrived = 0
        while arrived < stream.count {
            arrived += min(piece, stream.count - arrived)
            while check != nil, arrived > cleared {
                let held = arrived - cleared
                let step = check!.step(
                    held, beginning: { Array(stream[cleared..<cleared + min(held, NameCheck.limit)]) }
                ) {
                    ["good.example", "also.example"].contains($0.lowercased())
                }
                if step == .wait { break }
                switch step {
                case .pass(let count): cleared += count
                case .passAll: check = nil
                case .refuse(let reason, _): return .refused(reason, after: cleared)
                case .wait: break
                }
            }
        }
        return .passed(check == nil ? stream.count : cleared)
    }

    private func text(_ text: String) -> [UInt8] { Array(text.utf8) }

    @Test(arguments: [1, 7, 100_000]) func allowedNamesPass(piece: Int) {
        let tls = Self.hello("Good.Example")
        let data: [UInt8] = [23, 3, 3, 0, 2, 1, 2]
        #expect(run(tls + [20, 3, 3, 0, 1, 1] + data, piece: piece) == .passed(tls.count + 6 + data.count))
        let http = text(
            "GET / HTTP/1.1\r\nHost: good.example\r\n\r\nPOST /x HTTP/1.1\r\nHost: also.example\r\n"
                + "Content-Length: 20\r\n\r\n"
                + "GET / HTTP/1.1\r\nHost"
                + "PUT / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n"
                + "5;a=b\r\nabcde\r\n0\r\nT: x\r\n\r\n"
                + "GET / HTTP/1.0\r\nHost: also.example\r\n\r\n")
        #expect(run(http, piece: piece) == .passed(http.count))
    }

    @Test(arguments: [1, 9, 100_000]) func otherNamesAreRefused(piece: Int) {
        #expect(run(Self.hello("bad.example"), piece: piece) == .refused(.otherName, after: 0))
        #expect(run(Self.hello("good.example", [0xfe, 0x0d, 0, 1, 0]), piece: piece) == .refused(.hidden, after: 0))
        let good = text("GET / HTTP/1.1\r\nHost: good.example\r\n\r\n")
        let bad = text("GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n")
        #expect(run(good + bad, piece: piece) == .refused(.otherName, after: good.count))
        #expect(run(text("GET / HTTP/1.0\r\n\r\n"), piece: piece) == .refused(.noName, after: 0))
        #expect(
            run(text("GET http://bad.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n"), piece: piece)
                == .refused(.otherName, after: 0))
        let upgrade = text("GET / HTTP/1.1\r\nHost: good.example\r\nUpgrade: x\r\n\r\n")
        #expect(run(upgrade + bad, piece: piece) == .refused(.otherName, after: upgrade.count))
        let chunk = text("PUT / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc")
        #expect(run(chunk + text("X\r\n"), piece: piece) == .refused(.unknown, after: chunk.count))
        #expect(run(text("SSH-2.0-x\r\n"), piece: piece) == .refused(.unknown, after: 0))
    }

    /// What a server may take for a second request does not go out as a body.
    @Test(arguments: [1, 7, 100_000]) func smuggledRequestsAreRefused(piece: Int) {
        let bad = "GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n"
        for method in ["GET", "HEAD", "DELETE", "TRACE"] {
            let head = method + " / HTTP/1.1\r\nHost: good.example\r\n"
            #expect(
                run(text(head + "Content-Length: \(bad.utf8.count)\r\n\r\n" + bad), piece: piece)
                    == .refused(.unknown, after: 0))
            #expect(
                run(text(head + "Transfer-Encoding: chunked\r\n\r\n29\r\n" + bad + "\r\n0\r\n\r\n"), piece: piece)
                    == .refused(.unknown, after: 0))
        }
        let chunked = "POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        #expect(run(text(chunked + "5 junk\r\n"), piece: piece) == .refused(.unknown, after: chunked.utf8.count))
        let end = chunked + "0\r\n"
        #expect(run(text(end + bad), piece: piece) == .refused(.unknown, after: end.utf8.count))
    }

    /// A second ClientHello, after a HelloRetryRequest, may name another server.
    @Test(arguments: [1, 100_000]) func secondHelloIsChecked(piece: Int) {
        let first = Self.hello("good.example"), change: [UInt8] = [20, 3, 3, 0, 1, 1]
        #expect(
            run(first + change + Self.hello("good.example") + [23, 3, 3], piece: piece)
                != .refused(.otherName, after: 0))
        #expect(
            run(first + change + Self.hello("bad.example"), piece: piece)
                == .refused(.otherName, after: first.count + change.count))
        let early = Self.hello("good.example", [0, 42, 0, 0]), data: [UInt8] = [23, 3, 3, 0, 2, 1, 2]
        #expect(
            run(early + data + data + Self.hello("bad.example"), piece: piece)
                == .refused(.otherName, after: early.count + 2 * data.count))
    }

    /// Records that do not end a handshake hide no second ClientHello.
    @Test(
        arguments: [[22, 3, 3, 0, 0], [23, 3, 3, 0, 0], [20, 3, 3, 0, 0], [24, 3, 3, 0, 3, 1, 0, 0]] as [[UInt8]])
    func recordWithoutMeaningIsRefused(record: [UInt8]) {
        let first = Self.hello("good.example")
        for piece in [1, 100_000] {
            #expect(
                run(first + record + Self.hello("bad.example"), piece: piece)
                    == .refused(.unknown, after: first.count))
        }
    }

    @Test(arguments: [1, 100_000]) func otherProtocolsPassAtTheirPorts(piece: Int) {
        for text in [
            "SSH-2.0-x\r\nmore", "EHLO bad.example\r\n", "\0\u{1}binary", "1\0\0\0mysql", "\u{e9}t\u{e9}",
            "0032git-upload-pack /project\0host=bad.example\0",
        ] {
            #expect(run(Array(text.utf8), .recognized, piece: piece) == .passed(text.utf8.count), "\(text)")
        }
        for text in ["GET / HTTP/1.1\r\nHost: bad.example\r\n\r\n", " \r\nget / HTTP/1.1\r\nHost: bad.example\r\n\r\n"]
        {
            #expect(run(Array(text.utf8), .recognized, piece: piece) != .passed(text.utf8.count), "\(text)")
        }
        #expect(run(Self.hello("bad.example"), .recognized, piece: piece) == .refused(.otherName, after: 0))
    }

    /// Bytes that are no text do not hide a request: in its body, in its target, or between its words.
    @Test(arguments: [1, 100_000]) func requestWithOtherBytesIsRecognized(piece: Int) {
        let host = text(" HTTP/1.1\r\nHost: bad.example\r\n")
        let requests: [[UInt8]] = [
            text("POST /") + host + text("Content-Length: 2\r\n\r\n") + [0xff, 0],
            text("GET /") + [0xc3, 0xa9] + host + text("\r\n"), text("GET /") + [1, 0x7f] + host + text("\r\n"),
            text("GET\t/ http/1.1\nHost: bad.example\n\n"), text("\r\n\r\nGET /") + host + text("\r\n") + [0x80],
        ]
        for request in requests {
            guard case .refused(let reason, let passed) = run(request, .recognized, piece: piece) else {
                Issue.record("\(request) passes")
                continue
            }
            #expect((reason == .otherName || reason == .unknown) && passed == 0)
        }
    }

    @Test func heldBytesAreBounded() {
        let long = text("GET / HTTP/1.1\r\nX: " + String(repeating: "x", count: NameCheck.limit))
        #expect(run(long) == .refused(.unknown, after: 0))
        #expect(
            run([22, 3, 1, 0x40, 0, 1, 0, 0x50, 0] + [UInt8](repeating: 0, count: 17_000))
                == .refused(.unknown, after: 0))
    }

    @Test func randomStreamsEnd() {
        var random = SeededGenerator(seed: 34)
        let whole = text(
            "POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        for round in 0..<Rounds.of(4000) {
            var bytes =
                round % 2 == 0 ? whole : Self.hello("good.example", [0, 42, 0, 0]) + [23, 3, 3, 0, 2, 1, 2, 20, 3, 3]
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = .random(in: 0...255, using: &random)
            }
            _ = run(bytes, round % 3 == 0 ? .recognized : .required, piece: Int.random(in: 1...20, using: &random))
        }
    }
}
