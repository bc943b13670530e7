// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import Platform
import Uplink

/// The proxy as the user has given it: its name is resolved, and its credentials are read, at the start.
package struct ProxyConfiguration: Equatable, Sendable {
    /// Its protocol.
    package var kind: ProxyServer.Kind
    /// A name, or an address without brackets.
    package var host: String
    /// Where it listens.
    package var port: UInt16
    /// As the user has written it.
    package var text: String
    /// A file with `USER:PASSWORD`; nil for none.
    package var credentialsFile: String?
    /// Those of the environment; nil for none.
    package var credentials: ProxyServer.Credentials?

    package init(_ kind: ProxyServer.Kind, host: String, port: UInt16, text: String) {
        self.kind = kind
        self.host = host
        self.port = port
        self.text = text
    }

    /// Bytes of the longest file.
    private static let longestFile = 1024

    /// The proxy's address and credentials. Waits for the system's resolver.
    package func server(_ logger: Logger) throws(ExitError) -> ProxyServer {
        guard let address = SocketAddress(host, port: port) ?? SocketAddress(resolving: host, port: port) else {
            throw ExitError(
                .unavailable, "--proxy \(text): the host cannot resolve \(host); check the name, or give an address")
        }
        var server = ProxyServer(kind, at: address, text: text)
        server.credentials =
            try credentialsFile.map { path throws(ExitError) in try Self.read(path, logger) } ?? credentials
        return server
    }

    private static func read(
        _ path: String, _ logger: Logger
    ) throws(ExitError) -> ProxyServer.Credentials {
        let bytes: [UInt8]
        do throws(SystemError) {
            let file = try Files.openForCaller(path)
            let status = try file.status()
            guard status.kind == .regular else {
                throw SystemError(code: status.kind == .directory ? Errno.isDirectory : Errno.invalid, "read", path)
            }
            if status.mode & 0o077 != 0 {
                logger.warning(
                    "--proxy-credentials: other users have rights to \(path), which has a password; chmod 600 \(path)")
            }
            bytes = try file.readAll(limit: longestFile)
        } catch {
            throw ExitError(
                .noInput, "--proxy-credentials: \(error); give a readable file with USER:PASSWORD in its first line")
        }
        let line = Array(bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") })
        if let fault = fault(of: line) {
            throw ExitError(
                .usage,
                """
                --proxy-credentials: the first line of \(path) \(fault); write USER:PASSWORD, with 1 to 255 bytes for \
                each
                """)
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        guard
            let credentials = ProxyServer.Credentials(
                user: String(decoding: line[..<colon], as: UTF8.self),
                password: String(decoding: line[colon...].dropFirst(), as: UTF8.self))
        else { throw ExitError(.usage, "--proxy-credentials: the first line of \(path) is not USER:PASSWORD") }
        return credentials
    }

    /// What is wrong with a line; nil for `USER:PASSWORD`. The message does not show the line.
    static func fault(of line: [UInt8]) -> String? {
        if line.isEmpty { return "is empty" }
        if line.contains(where: { $0 < 0x20 || $0 == 0x7f }) { return "has a control character" }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return "has no colon" }
        if !String(decoding: line, as: UTF8.self).utf8.elementsEqual(line) { return "is not UTF-8" }
        let lengths = 1...255
        if !lengths.contains(colon) { return "has a user of \(colon) bytes" }
        let password = line.count - colon - 1
        return lengths.contains(password) ? nil : "has a password of \(password) bytes"
    }
}
