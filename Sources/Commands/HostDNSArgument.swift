// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Platform
import Wire

/// A loopback address and a port, such as `127.0.0.1:5353` or `[::1]:5353`, or `auto`, or `off`.
struct HostDNSArgument: ExplainedArgument {
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

    static func refusal(of text: String) -> String {
        if IPv4Address(text)?.isLoopback == true {
            return "there is no port after the address; write one from 1 to 65535, as in \(text):5300"
        }
        if let colon = text.lastIndex(of: ":"), IPv6Address(text[..<colon])?.isLoopback == true {
            return "write the address in brackets: [\(text[..<colon])]\(text[colon...])"
        }
        if IPv6Address(text)?.isLoopback == true {
            return "there is no port after the address; write both, as in [\(text)]:5300"
        }
        if let reason = Endpoint6Argument.refusalOfMapped(text) { return reason }
        let address =
            EndpointArgument(argument: text).map { IPAddress.ipv4($0.address) }
            ?? Endpoint6Argument(argument: text).map { .ipv6($0.address) }
        guard let address else {
            return "it is not an address of this host and a port; write both, as in 127.0.0.1:5300, or auto, or off"
        }
        return """
            \(address) is not on the loopback interface, and other hosts could reach it; write an address of \
            127.0.0.0/8, as in 127.0.0.1:5300
            """
    }
}
