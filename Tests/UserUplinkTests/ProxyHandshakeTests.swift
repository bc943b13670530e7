// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Uplink
@testable import UserUplink
import Wire

/// The dialogue with a proxy, without a socket.
@Suite struct ProxyHandshakeTests {
    private func handshake(
        _ kind: ProxyServer.Kind, _ target: ProxyHandshake.Target = .ipv4(IPv4Address("198.51.100.1")!),
        credentials: ProxyServer.Credentials? = nil
    ) -> ProxyHandshake {
        var server = ProxyServer(kind, at: SocketAddress(IPv4Address("203.0.113.1")!, port: 1080), text: "")
        server.credentials = credentials
        return ProxyHandshake(server, to: target, port: 443)
    }

    private let login = ProxyServer.Credentials(user: "user", password: "secret")

    /// Feeds bytes as a socket delivers them, and returns the first step that is not `receive`.
    private func feed(_ handshake: inout ProxyHandshake, _ bytes: [UInt8], piece: Int = .max) -> ProxyHandshake.Step {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = min(piece, handshake.needed, rest.count)
            guard count > 0 else { return .receive }
            let step = handshake.receive(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
            if step != .receive { return step }
        }
        return .receive
    }

    @Test(arguments: [1, 100]) func socksConnects(piece: Int) {
        let targets: [(ProxyHandshake.Target, [UInt8])] = [
            (.ipv4(IPv4Address("198.51.100.1")!), [1, 198, 51, 100, 1]),
            (.ipv6(IPv6Address("2001:db8::1")!), [4, 0x20, 1, 0xd, 0xb8] + [UInt8](repeating: 0, count: 11) + [1]),
            (.name("a.example"), [3, 9] + Array("a.example".utf8)),
        ]
        for (target, address) in targets {
            var one = handshake(.socks5, target)
            #expect(one.begin() == [5, 1, 0])
            #expect(feed(&one, [5, 0], piece: piece) == .send([5, 1, 0] + address + [1, 187]))
            for reply in [[1, 0, 0, 0, 0], [3, 2, 97, 98], [4] + [UInt8](repeating: 0, count: 16)] as [[UInt8]] {
                var two = one
                #expect(feed(&two, [5, 0, 0] + reply + [0, 0], piece: piece) == .connected([]), "\(reply)")
            }
            var two = one
            #expect(feed(&two, [5, 4, 0, 1, 0], piece: piece) == .failed(.refused(4)))
            two = one
            #expect(feed(&two, [5, 0, 0, 9, 0], piece: piece) == .failed(.addressType(9)))
        }
    }

    @Test func socksLogsIn() {
        var one = handshake(.socks5, credentials: login)
        #expect(one.begin() == [5, 2, 0, 2])
        let sent = [1, 4] + Array("user".utf8) + [6] + Array("secret".utf8)
        #expect(feed(&one, [5, 2]) == .send(sent))
        var refused = one
        #expect(feed(&refused, [1, 1]) == .failed(.credentials))
        guard case .send = feed(&one, [1, 0]) else {
            Issue.record("no request")
            return
        }
        var without = handshake(.socks5)
        _ = without.begin()
        #expect(feed(&without, [5, 0xff]) == .failed(.needsCredentials))
        var neither = handshake(.socks5, credentials: login)
        _ = neither.begin()
        #expect(feed(&neither, [5, 0xff]) == .failed(.noMethod))
        var other = handshake(.socks5, credentials: login)
        _ = other.begin()
        #expect(feed(&other, [5, 1]) == .failed(.malformed))
        var unasked = handshake(.socks5)
        _ = unasked.begin()
        #expect(feed(&unasked, [5, 2]) == .failed(.malformed))
    }

    @Test(arguments: [1, 7, 100_000]) func httpConnects(piece: Int) {
        var one = handshake(.http, .ipv6(IPv6Address("2001:db8::1")!), credentials: login)
        #expect(
            String(decoding: one.begin(), as: UTF8.self)
                == "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
                + "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n")
        func answer(_ text: String) -> ProxyHandshake.Step {
            var two = one
            return feed(&two, Array(text.utf8), piece: piece)
        }
        #expect(answer("HTTP/1.1 200 OK\r\nX: y\r\n\r\n") == .connected([]))
        #expect(answer("HTTP/1.0 200\n\n") == .connected([]))
        #expect(answer("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 X\r\n\r\n") == .connected([]))
        #expect(answer("HTTP/1.1 407 Login\r\n\r\n") == .failed(.credentials))
        #expect(answer("HTTP/1.1 403 Forbidden\r\n\r\n") == .failed(.refused(403)))
        #expect(answer("SSH-2.0-x\r\n") == .failed(.malformed))
        #expect(answer("HTTP/1.1 2x0 OK\r\n\r\n") == .failed(.malformed))
        for line in [
            "HTTP/1.1 2000", "HTTP/1.1 2000 OK", "HTTP/1.1 20", "HTTP/1.1 +20 OK", "HTTP/1.x 200 OK", "HTTP/1.1200 OK",
            "HTTP/1.1  200 OK", "HTTP/1.1 200\tOK",
        ] { #expect(answer(line + "\r\n\r\n") == .failed(.malformed), "\(line)") }
        #expect(answer("HTTP/1.1 200 OK\r\nX: " + String(repeating: "x", count: 20_000)) == .failed(.longHead))
    }

    @Test func bytesBehindTheHeadAreTheDestinations() {
        var one = handshake(.http)
        _ = one.begin()
        #expect(feed(&one, Array("HTTP/1.1 200 OK\r\n\r\nSSH-2.0".utf8)) == .connected(Array("SSH-2.0".utf8)))
        var closed = handshake(.http)
        _ = closed.begin()
        #expect(closed.receive([]) == .failed(.closed))
    }

    /// Each failure has its cause and a next step.
    @Test func failuresHaveDifferentTexts() {
        let socks: [ProxyFailure] = (1...9).map { .refused($0) }
        let http: [ProxyFailure] = [302, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504].map { .refused($0) }
        let common: [ProxyFailure] = [
            .unreachable(Errno.refused), .timedOut, .closed, .malformed, .longHead, .needsCredentials, .credentials,
            .noMethod,
            .addressType(9),
        ]
        for (kind, failures) in [(ProxyServer.Kind.socks5, socks + common), (.http, http + common)] {
            let texts = failures.map { $0.text(kind) }
            let causes = Set(texts.map { $0.prefix { $0 != "(" && $0 != ";" } })
            #expect(causes.count == texts.count, "\(texts)")
            for text in texts { #expect(text.split(separator: ";").count == 2, "\(text)") }
        }
        let server = ProxyServer(.http, at: SocketAddress(IPv4Address("203.0.113.1")!, port: 80), text: "http://p:80")
        #expect(
            UserUplink.text(.refused(403), 1, of: server)
                == "the proxy http://p:80 has not made a connection of guests: its rules refuse the destination "
                + "(HTTP status 403); check them")
        #expect(UserUplink.text(.closed, 2, of: server).contains("has not made 2 connections of guests: "))
    }

    @Test func eachKindOfFailureIsReported() throws {
        var context = TCPContext(
            output: GuestOutput(to: FrameRecorder(), mtu: 1500), mtu: 1500, memory: BufferBudget(limit: 1 << 16))
        for code in [2, 5, 2] + Array(100..<200) { context.proxyFailed(.refused(code)) }
        let taken = context.takeProxyFailures()
        #expect(taken.count == 16 && taken[0].failure == .refused(2) && taken[0].count == 2)
        #expect(context.takeProxyFailures().isEmpty)
    }

    @Test func randomAnswersEnd() {
        var random = SeededGenerator(seed: 5)
        for round in 0..<Rounds.of(20_000) {
            var one = handshake(round % 2 == 0 ? .socks5 : .http, credentials: round % 3 == 0 ? login : nil)
            _ = one.begin()
            for _ in 0..<20 {
                guard one.needed > 0 else { break }
                let count = Int.random(in: 1...min(one.needed, 40), using: &random)
                let bytes = (0..<count).map { _ in
                    Bool.random(using: &random)
                        ? UInt8.random(in: 0...5, using: &random) : .random(in: 0...255, using: &random)
                }
                switch one.receive(bytes) {
                case .connected, .failed: break
                case .receive, .send: continue
                }
                break
            }
        }
    }

    @Test func credentialsAreChecked() {
        #expect(ProxyServer.Credentials(user: "", password: "x") == nil)
        #expect(ProxyServer.Credentials(user: "a:b", password: "x") == nil)
        #expect(ProxyServer.Credentials(user: "a", password: "x\r\nHost: y") == nil)
        #expect(ProxyServer.Credentials(user: "a", password: String(repeating: "x", count: 256)) == nil)
        #expect("\(ProxyServer.Credentials(user: "a", password: "b:c")!)" == "(hidden)")
    }
}
