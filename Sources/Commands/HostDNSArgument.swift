// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Platform
import Wire

/// A loopback address and a port, such as `127.0.0.1:5353` or `[::1]:5353`, or `auto`, or `off`.
struct HostDNSArgument: ExpressibleByArgument {
    let value: HostDNS

    init?(argument: String) {
        switch argument {
        case "auto": value = .automatic
        case "off": value = .off
        default:
            guard let address = HostDNSArgument.loopbackAddress(argument) else { return nil }
            value = .at(address)
        }
    }

    private static func loopbackAddress(_ argument: String) -> SocketAddress? {
        guard let colon = argument.lastIndex(of: ":"),
            let port = UInt16(digits: argument[argument.index(after: colon)...]),
            port > 0
        else { return nil }
        let host = argument[..<colon]
        if let ipv4 = IPv4Address(host), ipv4.isLoopback {
            return SocketAddress(ipv4, port: port)
        } else if host.hasPrefix("["), host.hasSuffix("]"), let ipv6 = IPv6Address(host.dropFirst().dropLast()),
            ipv6.isLoopback
        {
            return SocketAddress(ipv6, port: port)
        }
        return nil
    }
}
