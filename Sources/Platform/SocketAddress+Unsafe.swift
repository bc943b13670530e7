// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

extension SocketAddress {
    /// Parses a numeric IPv4 or IPv6 address, a link-local one with its scope (`fe80::1%eth0`); nil for anything else.
    package init?(_ text: String, port: UInt16) {
        var raw = platform_inet_address()
        guard unsafe platform_inet_parse(text, &raw) == 0 else { return nil }
        raw.port = port
        self.init(raw: raw)
    }

    /// Looks a name up by the system's resolver, and waits for it; nil if it has no address.
    package init?(resolving name: String, port: UInt16) {
        var raw = platform_inet_address()
        guard unsafe platform_inet_resolve(name, &raw) == 0 else { return nil }
        raw.port = port
        self.init(raw: raw)
    }

    /// Looks the IPv6 addresses of a name up by the system's resolver, and waits for it.
    /// - Returns: `limit` at most, none if the name has none; nil without an answer.
    package static func addresses6(of name: String, limit: Int) -> [IPv6Address]? {
        var bytes = [UInt8](repeating: 0, count: 16 * limit)
        let count = unsafe bytes.withUnsafeMutableBytes {
            unsafe platform_inet_resolve6(name, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(limit))
        }
        guard count >= 0 else { return nil }
        return (0..<Int(count)).map { IPv6Address(bytes.rawSpan, at: 16 * $0) }
    }
}
