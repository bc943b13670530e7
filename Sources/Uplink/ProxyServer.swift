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
