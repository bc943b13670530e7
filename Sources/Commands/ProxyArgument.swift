// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Platform
import Uplink
import Wire

extension ProxyConfiguration {
    /// Parses `socks5://HOST:PORT` or `http://HOST:PORT`.
    /// - Throws: what is wrong with any other text, which may contain a password: no more of it is in the message than
    ///   the scheme, and the rest if it has no `@`.
    init(option: String) throws {
        let scheme = String(option.prefix { $0 != ":" }).lowercased()
        guard let kind = ProxyServer.Kind(rawValue: scheme), option.dropFirst(scheme.utf8.count).hasPrefix("://") else {
            let reason = ProxyConfiguration.unsupported[scheme].map { "\($0); " } ?? ""
            throw ValidationError(
                "--proxy: \(reason)give socks5://HOST:PORT or http://HOST:PORT, such as socks5://proxy.example:1080")
        }
        var rest = option.dropFirst(kind.rawValue.utf8.count + 3)
        if rest.last == "/" { rest = rest.dropLast() }
        guard !rest.contains("@") else {
            throw ValidationError(
                """
                --proxy: other users see a password in an argument; put USER:PASSWORD into a file, and use \
                --proxy-credentials FILE, or VDE_VMNET_PROXY_USER and VDE_VMNET_PROXY_PASSWORD in the environment
                """)
        }
        let isBracketed = rest.hasPrefix("[")
        let end = isBracketed ? rest.firstIndex(of: "]").map { rest.index(after: $0) } : rest.lastIndex(of: ":")
        let written = rest[..<(end ?? rest.endIndex)], port = rest[written.endIndex...]
        let host = isBracketed ? written.dropFirst().dropLast() : written
        guard let number = port.first == ":" ? UInt16(digits: port.dropFirst()) : nil, number > 0, !host.isEmpty,
            host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") }),
            isBracketed == host.contains(":")
        else {
            throw ValidationError(
                "--proxy: \(option) is not \(kind)://HOST:PORT: \(ProxyConfiguration.fault(kind, written, port))")
        }
        self.init(kind, host: String(host), port: number, text: "\(kind.rawValue)://\(rest)")
    }

    /// What users write for other proxies, and why it is none.
    private static let unsupported = [
        "socks5h": "socks5h has the proxy resolve names, and guests resolve them before they connect, so use socks5",
        "socks": "socks names no version, and version 5 is supported",
        "socks4": "version 4 of SOCKS is not supported", "socks4a": "version 4 of SOCKS is not supported",
        "https": "TLS to the proxy is not supported",
    ]

    /// What is wrong with what follows the scheme.
    private static func fault(_ kind: ProxyServer.Kind, _ host: Substring, _ port: Substring) -> String {
        if host.isEmpty { return "there is no host" }
        if host.contains("/") || port.contains("/") { return "leave the path out" }
        if IPv6Address(host + port) != nil { return "write the IPv6 address in brackets, and the port after them" }
        if port.isEmpty {
            return "there is no port; write it after the host, as in \(kind)://\(host):\(kind == .http ? 3128 : 1080)"
        }
        if UInt16(digits: port.dropFirst()) ?? 0 == 0 { return "the port is not a number from 1 to 65535" }
        return "'\(host)' is neither a name nor an address"
    }

    /// The user and the password in the environment; nil if there are none.
    static func environmentCredentials() throws -> ProxyServer.Credentials? {
        let user = CurrentProcess.environment("VDE_VMNET_PROXY_USER")
        guard user != nil || CurrentProcess.environment("VDE_VMNET_PROXY_PASSWORD") != nil else { return nil }
        let password = CurrentProcess.environment("VDE_VMNET_PROXY_PASSWORD")
        guard let credentials = ProxyServer.Credentials(user: user ?? "", password: password ?? "") else {
            throw ValidationError(
                """
                VDE_VMNET_PROXY_USER and VDE_VMNET_PROXY_PASSWORD: both are needed, with 1 to 255 bytes, and no colon \
                in the user
                """)
        }
        return credentials
    }
}
