// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Files by which macOS sends the host's queries for names within a domain to a DNS server (resolver(5)): one for each
/// domain, with its name.
package struct ResolverFiles: Sendable {
    /// The first line. Without it, the file is another program's or the user's.
    private static let mark = "# vde_vmnet removes this file when its network ends\n"

    /// Where macOS reads them.
    package static let system = ResolverFiles(in: "/etc/resolver")

    private let directory: String

    package init(in directory: String) { self.directory = directory }

    /// Whether this system reads the files, and this process may write them.
    package static var isHere: Bool { OperatingSystem.isMacOS && CurrentProcess.effectiveUser == 0 }

    /// Whether `text` can be a domain with a file.
    package static func isDomain(_ text: String) -> Bool {
        !text.hasPrefix(".")
            && text.utf8.allSatisfy { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") || $0.isLabelByte }
            && DNSName(text) != nil
    }

    /// Whether another program or the user has written the file of a domain.
    package func isForeign(_ domain: String) -> Bool {
        let path = "\(directory)/\(domain)"
        return (try? Files.status(path, followLinks: false)) != nil && !isOwn(path)
    }

    /// Writes the file of a domain, and the directory if it is missing.
    /// - Precondition: no other program has written it.
    package func write(_ domain: String, _ server: SocketAddress) throws(SystemError) {
        if !Files.exists(directory) { try Files.makeDirectory(directory, mode: 0o755) }
        let address = server.ipv4.map { "\($0)" } ?? server.ipv6.map { "\($0)" } ?? ""
        let text = ResolverFiles.mark + "nameserver \(address)\nport \(server.port)\n"
        try Files.replace("\(directory)/\(domain)", Array(text.utf8))
    }

    /// Removes the file of a domain, if this program has written it.
    package func remove(_ domain: String) {
        let path = "\(directory)/\(domain)"
        if isOwn(path) { try? Files.remove(path) }
    }

    private func isOwn(_ path: String) -> Bool {
        guard let status = try? Files.status(path, followLinks: false), status.kind == .regular else { return false }
        return Files.text(path)?.hasPrefix(ResolverFiles.mark) ?? false
    }
}

extension UInt8 {
    fileprivate var isLabelByte: Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self)
    }
}
