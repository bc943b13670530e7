// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Platform
import Uplink
import Wire

extension ProxyConfiguration {
    /// Parses `socks5://HOST:PORT` or `http://HOST:PORT`.
    /// - Throws: what is wrong with any other text, which may contain a password and is not part of the message.
    init(option: String) throws {
        guard let kind = ProxyServer.Kind.allCases.first(where: { option.hasPrefix($0.rawValue + "://") }) else {
            throw ValidationError(
                "--proxy: give socks5://HOST:PORT or http://HOST:PORT, such as socks5://proxy.example:1080")
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
        let colon = rest.lastIndex(of: ":") ?? rest.startIndex
        var host = rest[..<colon]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        if isBracketed { host = host.dropFirst().dropLast() }
        guard let port = UInt16(digits: rest[colon...].dropFirst()), port > 0, !host.isEmpty,
            host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") }),
            isBracketed == host.contains(":")
        else {
            throw ValidationError("--proxy: \(option) is not \(kind.rawValue)://HOST:PORT")
        }
        self.init(kind, host: String(host), port: port, text: "\(kind.rawValue)://\(rest)")
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
