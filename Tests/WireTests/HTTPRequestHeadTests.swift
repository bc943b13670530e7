// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct HTTPRequestHeadTests {
    private func read(_ text: String) -> HTTPRequestHead.Outcome { HTTPRequestHead.read(Array(text.utf8)) }

    private func head(_ text: String) -> HTTPRequestHead? {
        guard case .complete(let head, let length) = read(text) else { return nil }
        #expect(length == text.utf8.count)
        return head
    }

    @Test func namesAndLengthsAreFound() throws {
        let plain = "GET /a HTTP/1.1\r\nAccept: */*\r\nHost: Site.Example:8080 \r\n\r\n"
        #expect(head(plain)?.hosts == ["Site.Example"] && head(plain)?.body == .length(0))
        for end in 0..<plain.utf8.count {
            #expect(HTTPRequestHead.read(Array(plain.utf8.prefix(end))) == .incomplete, "\(end)")
        }
        #expect(read(plain + "GET /") == .complete(try #require(head(plain)), length: plain.utf8.count))
        #expect(head("\r\nOPTIONS * HTTP/1.0\r\n\r\n")?.hosts == [])
        #expect(
            head("GET HTTP://b.example:80?x HTTP/1.1\r\nHost: a.example\r\n\r\n")?.hosts == ["b.example", "a.example"])
        #expect(head("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n")?.body == .length(17))
        #expect(head("PUT / HTTP/1.1\r\nTransfer-Encoding:\tChunked\r\nHost: a\r\n\r\n")?.body == .chunked)
    }

    @Test func whatServersMayReadDifferentlyIsMalformed() {
        for text in [
            "GET / HTTP/1.1\nHost: a\n\n", "GET  / HTTP/1.1\r\n", "GET / HTTP/1.1 \r\n", "GET /\r\n",
            " GET / HTTP/1.1\r\n",
            "GET / HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\n", "get/ / HTTP/1.1\r\n", "CONNECT a:443 HTTP/1.1\r\n",
            "GET a.example HTTP/1.1\r\n", "GET http://user@a.example/ HTTP/1.1\r\n", "GET ftp://a/ HTTP/1.1\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n", "GET /\0 HTTP/1.1\r\n", "GET / HTTP/1.1\r\rHost: a\r\n",
        ] { #expect(read(text) == .malformed, "\(text)") }
        for field in [
            "Host: a\r\nHost: b", "Host: a b", "Host: user@a", "Host:", "Host: a:b", "Host: [::1]", "Host : a",
            "NoColon",
            "Host: a\r\n folded", ": a", "Content-Length: 1\r\nContent-Length: 2", "Content-Length: -1",
            "Content-Length: 1, 1", "Content-Length: 9999999999999999", "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 3", "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "X: \u{1}", "X: a\nHost: b", "Content_Length: 1", "Transfer_Encoding: chunked",
        ] { #expect(read("GET / HTTP/1.1\r\n" + field + "\r\n\r\n") == .malformed, "\(field)") }
        #expect(read("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == .malformed)
    }

    /// A server that leaves such a body unread takes it for the next request.
    @Test(arguments: ["GET", "HEAD", "DELETE", "TRACE", "get", "Head"])
    func bodyWithoutMeaningIsMalformed(method: String) {
        for field in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
            let end = " / HTTP/1.1\r\nHost: a\r\n" + field + "\r\n\r\n"
            #expect(read(method + end) == .malformed, "\(field)")
            #expect(head("POST" + end) != nil && head("PATCH" + end) != nil)
        }
        #expect(head(method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")?.body == .length(0))
    }

    @Test func trailerHasNoFieldsOfTheHead() {
        func trailer(_ text: String) -> HTTPRequestHead.ChunkOutcome { HTTPRequestHead.readTrailer(Array(text.utf8)) }
        #expect(trailer("\r\n") == .chunk(lineLength: 2, size: 0))
        #expect(trailer("Digest: x\r\n") == .chunk(lineLength: 11, size: 1))
        for text in [
            "GET / HTTP/1.1\r\n", "Host: a\r\n", "content-length: 3\r\n", "Transfer-Encoding: chunked\r\n", "x\r\n",
            ": x\r\n", " a: b\r\n",
        ] { #expect(trailer(text) == .malformed, "\(text)") }
    }

    @Test func chunksHaveSizes() {
        func chunk(_ text: String) -> HTTPRequestHead.ChunkOutcome { HTTPRequestHead.readChunk(Array(text.utf8)) }
        #expect(chunk("1fF;name=value\r\nabc") == .chunk(lineLength: 16, size: 511))
        #expect(chunk("a \t; b=\"c\"\r\n") == .chunk(lineLength: 12, size: 10))
        #expect(chunk("0\r\n") == .chunk(lineLength: 3, size: 0))
        #expect(chunk("10") == .incomplete && chunk("10\r") == .incomplete && chunk("") == .incomplete)
        for text in [
            "\r\n", "g\r\n", "-1\r\n", "10\nab", "fffffffffffff\r\n", "1_0\r\n", "5 junk\r\n",
            "5 \r\n", "5\t5;a\r\n", " 5\r\n", ";a\r\n",
        ] {
            #expect(chunk(text) == .malformed, "\(text)")
        }
    }

    @Test func changedAndRandomBytesDoNoHarm() {
        var random = SeededGenerator(seed: 21)
        let whole = Array("POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nabcde".utf8)
        for _ in 0..<Rounds.of(10_000) {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = .random(in: 0...255, using: &random)
            }
            bytes.removeLast(.random(in: 0...bytes.count, using: &random))
            if case .complete(_, let length) = HTTPRequestHead.read(bytes) { #expect(length <= bytes.count) }
            _ = HTTPRequestHead.readChunk(bytes)
            _ = HTTPRequestHead.readTrailer(bytes)
        }
    }
}
