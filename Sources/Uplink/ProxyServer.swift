// SPDX-License-Identifier: Apache-2.0
import Platform

/// The proxy that TCP connections of guests go through (`--proxy`).
package struct ProxyServer: Equatable, Sendable {
    /// Its protocol.
    package enum Kind: String, CaseIterable, Sendable {
        /// RFC 1928.
        case socks5
        /// CONNECT of RFC 9110 section 9.3.6.
        case http
    }

    /// A user and a password. Not part of any text.
    package struct Credentials: Equatable, Sendable, CustomStringConvertible {
        /// Without a colon.
        package let user: String
        /// As the proxy expects it.
        package let password: String

        /// - Returns: nil unless both have 1 to 255 bytes (RFC 1929), without control characters, and `user` has no
        ///   colon (RFC 7617).
        package init?(user: String, password: String) {
            for text in [user, password] {
                guard (1...255).contains(text.utf8.count), text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else {
                    return nil
                }
            }
            guard !user.utf8.contains(UInt8(ascii: ":")) else { return nil }
            self.user = user
            self.password = password
        }

        package var description: String { "(hidden)" }
    }

    /// Its protocol.
    package let kind: Kind
    /// Where it listens.
    package let address: SocketAddress
    /// As the user has written it, such as `socks5://proxy.example:1080`.
    package let text: String
    /// nil if none were given.
    package var credentials: Credentials?

    package init(_ kind: Kind, at address: SocketAddress, text: String) {
        self.kind = kind
        self.address = address
        self.text = text
    }
}

/// Why a proxy has not connected.
package enum ProxyFailure: Equatable, Sendable {
    /// The system's error: the proxy itself cannot be reached.
    case unreachable(Int32)
    case timedOut
    /// It has closed the connection.
    case closed
    /// Its answer is none of its protocol.
    case malformed
    case needsCredentials
    /// It does not accept those that were given.
    case credentials
    /// The reply of SOCKS5, or the status of HTTP.
    case refused(Int)

    /// For a message, with the next step.
    package func text(_ kind: ProxyServer.Kind) -> String {
        switch self {
        case .unreachable(let code): "\(SystemError(code: code, "connect")); check that it runs"
        case .timedOut: "no answer in time; check that it runs, and reaches the destination"
        case .closed: "it has closed the connection; check its log"
        case .malformed: "its answer is not \(kind == .http ? "HTTP; try socks5://" : "SOCKS5; try http://")"
        case .needsCredentials: "it needs a user and a password; use --proxy-credentials FILE"
        case .credentials: "it does not accept the user and the password; check --proxy-credentials"
        case .refused(let code) where kind == .http: "it refuses the destination (HTTP status \(code)); check its rules"
        case .refused(2): "its rules refuse the destination; check them"
        case .refused(let code): "it cannot connect to the destination (SOCKS5 reply \(code))"
        }
    }
}
