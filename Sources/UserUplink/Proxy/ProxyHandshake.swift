// SPDX-License-Identifier: Apache-2.0
import Timing
import Uplink
import Wire

// Theory of operation: TCP through a proxy (`--proxy`)
// ====================================================
//
// A connection of a guest is made to the proxy instead of its destination. While `TCPConnection` is `connecting`, this
// state machine requests the destination. The guest gets its SYN-ACK when the proxy has connected, and a RST if it has
// not.
//
//     SOCKS5 (RFC 1928)     methods -> [user name and password, RFC 1929] -> CONNECT -> reply
//     HTTP (RFC 9110)       CONNECT with Basic credentials (RFC 7617) -> a head with status 2xx
//
// Replies of SOCKS5 are read to the byte, so that nothing of the destination is among them. After the head of HTTP
// there may be bytes of the destination, which go to the guest.

/// The dialogue with a proxy until it has connected to a guest's destination.
struct ProxyHandshake: Sendable {
    /// Where a connection is to lead: a name, or an address.
    enum Target: Equatable, Sendable {
        case name(String)
        case ipv4(IPv4Address)
        case ipv6(IPv6Address)
    }

    /// What is next.
    enum Step: Equatable, Sendable {
        /// Receive further bytes.
        case receive
        case send([UInt8])
        /// The proxy has connected. The bytes are the destination's.
        case connected([UInt8])
        case failed(ProxyFailure)
    }

    private enum State: Sendable {
        case start
        case method
        case login
        case reply
        case address
        case head
    }

    /// How long it may take, once the proxy has accepted the connection.
    static let timeout = TimeAmount.seconds(30)
    /// Bytes of the longest head of an answer.
    private static let maximumHead = 16 << 10

    private let proxy: ProxyServer
    private let target: Target
    private let port: UInt16
    private var state = State.start
    private var received: [UInt8] = []
    /// Bytes of `received` that were searched for the end of the head, and where its last line begins.
    private var searched = 0, lineStart = 0

    /// - Parameter port: of the destination.
    init(_ proxy: ProxyServer, to target: Target, port: UInt16) {
        self.proxy = proxy
        self.target = target
        self.port = port
    }

    /// Nothing was sent yet.
    var isAtStart: Bool { if case .start = state { true } else { false } }

    /// How many bytes may be received next.
    var needed: Int {
        switch state {
        case .start: 0
        case .method, .login: 2 - received.count
        case .reply: Socks.replyStart - received.count
        case .address: addressLength - received.count
        case .head: ProxyHandshake.maximumHead - received.count
        }
    }

    /// The connection to the proxy is there: what to send first.
    mutating func begin() -> [UInt8] {
        switch proxy.kind {
        case .http:
            state = .head
            return connectRequest
        case .socks5:
            state = .method
            return proxy.credentials == nil
                ? [Socks.version, 1, Socks.noLogin] : [Socks.version, 2, Socks.noLogin, Socks.passwordLogin]
        }
    }

    /// Handles bytes of the proxy, `needed` at most; none if it has closed the connection.
    mutating func receive(_ bytes: [UInt8]) -> Step {
        if bytes.isEmpty { return .failed(.closed) }
        received += bytes
        switch state {
        case .head: return readHead()
        case _ where needed > 0: return .receive
        case .method: return readMethod()
        case .login:
            guard received[1] == 0 else { return .failed(.credentials) }
            return connect()
        case .reply:
            guard received[0] == Socks.version else { return .failed(.malformed) }
            guard received[1] == 0 else { return .failed(.refused(Int(received[1]))) }
            guard addressLength > 0 else { return .failed(.addressType(received[3])) }
            state = .address
            return .receive
        case .address: return .connected([])
        case .start: return .failed(.malformed)
        }
    }

    // MARK: SOCKS5

    private enum Socks {
        static let version: UInt8 = 5
        /// The command CONNECT, and the reserved byte after it (RFC 1928 section 4).
        static let connect: UInt8 = 1, reserved: UInt8 = 0
        /// Of the login (RFC 1929 section 2).
        static let loginVersion: UInt8 = 1
        static let noLogin: UInt8 = 0
        static let passwordLogin: UInt8 = 2
        /// None of the methods that were offered.
        static let noMethod: UInt8 = 0xff
        /// Up to the first byte of the address, which may be its length.
        static let replyStart = 5
        /// Bytes of a port, after the address.
        static let portLength = 2
        static let ipv4: UInt8 = 1
        static let name: UInt8 = 3
        static let ipv6: UInt8 = 4
    }

    private mutating func readMethod() -> Step {
        guard received[0] == Socks.version else { return .failed(.malformed) }
        switch received[1] {
        case Socks.noLogin: return connect()
        case Socks.passwordLogin:
            guard let credentials = proxy.credentials else { return .failed(.malformed) }
            received = []
            state = .login
            let user = Array(credentials.user.utf8), password = Array(credentials.password.utf8)
            return .send([Socks.loginVersion, UInt8(user.count)] + user + [UInt8(password.count)] + password)
        case Socks.noMethod: return .failed(proxy.credentials == nil ? .needsCredentials : .noMethod)
        default: return .failed(.malformed)
        }
    }

    private mutating func connect() -> Step {
        received = []
        state = .reply
        let address: [UInt8] =
            switch target {
            case .ipv4(let address): [Socks.ipv4] + address.bytes
            case .ipv6(let address): [Socks.ipv6] + address.bytes
            case .name(let name): [Socks.name, UInt8(name.utf8.count)] + Array(name.utf8)
            }
        return .send(
            [Socks.version, Socks.connect, Socks.reserved] + address + [UInt8(port >> 8), UInt8(port & 0xff)])
    }

    /// Bytes of the whole reply; 0 if its kind of address is unknown.
    private var addressLength: Int {
        switch received[3] {
        // The first byte of an address comes before `replyStart`.
        case Socks.ipv4: Socks.replyStart - 1 + IPv4Address.length + Socks.portLength
        case Socks.ipv6: Socks.replyStart - 1 + IPv6Address.length + Socks.portLength
        case Socks.name: Socks.replyStart + Int(received[4]) + Socks.portLength
        default: 0
        }
    }

    // MARK: HTTP

    private var connectRequest: [UInt8] {
        let host =
            switch target {
            case .ipv4(let address): "\(address):\(port)"
            case .ipv6(let address): "[\(address)]:\(port)"
            case .name(let name): "\(name):\(port)"
            }
        var head = "CONNECT \(host) HTTP/1.1\r\nHost: \(host)\r\n"
        if let credentials = proxy.credentials {
            let login = "\(credentials.user):\(credentials.password)"
            head += "Proxy-Authorization: Basic \(Base64.text(Array(login.utf8)))\r\n"
        }
        return Array((head + "\r\n").utf8)
    }

    private mutating func readHead() -> Step {
        guard let length = headLength() else {
            let isPlausible = zip(received, "HTTP/1.".utf8).allSatisfy { $0 == $1 }
            guard isPlausible else { return .failed(.malformed) }
            return needed > 0 ? .receive : .failed(.longHead)
        }
        guard let status = status(received.prefix(length)) else { return .failed(.malformed) }
        switch status {
        case 100..<200:
            // A final answer follows.
            received.removeFirst(length)
            (searched, lineStart) = (0, 0)
            return received.isEmpty ? .receive : readHead()
        case 200..<300: return .connected(Array(received[length...]))
        case 407: return .failed(proxy.credentials == nil ? .needsCredentials : .credentials)
        default: return .failed(.refused(status))
        }
    }

    /// The three digits of a status line, `HTTP/1.x NNN`, with a space or the end of the line after it (RFC 9112
    /// section 4); nil for any other line.
    private func status(_ head: ArraySlice<UInt8>) -> Int? {
        let start = Array(head.prefix(13))
        guard start.count == 13, start.starts(with: "HTTP/1.".utf8), isDigit(start[7]), start[8] == UInt8(ascii: " "),
            start[9..<12].allSatisfy(isDigit), [UInt8(ascii: " "), 0x0d, 0x0a].contains(start[12])
        else { return nil }
        return Int(String(decoding: start[9..<12], as: UTF8.self))
    }

    private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    /// Bytes up to the empty line. A line may end with LF alone (RFC 9112 section 2.2).
    private mutating func headLength() -> Int? {
        while searched < received.count {
            searched += 1
            guard received[searched - 1] == 0x0a else { continue }
            let line = received[lineStart..<searched - 1]
            if lineStart > 0 && (line.isEmpty || line.elementsEqual([0x0d])) { return searched }
            lineStart = searched
        }
        return nil
    }
}
