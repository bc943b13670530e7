// SPDX-License-Identifier: Apache-2.0
import CPlatform

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
}
