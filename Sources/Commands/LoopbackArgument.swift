// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Platform
import Wire

/// A loopback address and a port: `127.0.0.1:5353` or `[::1]:5353`.
struct LoopbackArgument: ExpressibleByArgument {
    let address: SocketAddress

    init?(argument: String) {
        guard let colon = argument.lastIndex(of: ":"), let port = UInt16(argument[argument.index(after: colon)...]),
            port > 0
        else { return nil }
        let host = argument[..<colon]
        if let ipv4 = IPv4Address(host), ipv4.isLoopback {
            address = SocketAddress(ipv4, port: port)
        } else if host.hasPrefix("["), host.hasSuffix("]"), let ipv6 = IPv6Address(host.dropFirst().dropLast()),
            ipv6.isLoopback
        {
            address = SocketAddress(ipv6, port: port)
        } else {
            return nil
        }
    }
}
