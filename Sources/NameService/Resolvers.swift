// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The host's resolvers from `/etc/resolv.conf`. The file is read again when it has changed, and when it is back after
/// it was missing.
package final class Resolvers {
    private let path: String
    /// The file that was read; nil while there is none.
    private var seen: (modified: Int64, inode: UInt64, size: Int)?
    private var nextCheck = Instant.distantPast
    /// In the order of the file.
    package private(set) var servers: [SocketAddress] = []
    /// The local domain.
    package private(set) var domain: String?
    /// Search domains.
    package private(set) var search: [String] = []

    /// Reads the file.
    package init(path: String = "/etc/resolv.conf") {
        self.path = path
        refresh()
    }

    /// Checks the file, at most once a second while there is one, and at every call while there is none.
    /// - Returns: whether the servers have changed.
    @discardableResult
    package func refresh(now: Instant = BootClock.now) -> Bool {
        guard seen == nil || now >= nextCheck else { return false }
        nextCheck = now + .seconds(1)
        let before = servers
        guard let status = try? Files.status(path) else {
            // The same file may come back unchanged.
            seen = nil
            servers = []
            return before != servers
        }
        if let seen, seen == (status.modified, status.inode, status.size) { return false }
        guard let text = Files.text(path) else {
            // The file exists but cannot be read now, for example without free descriptors.
            seen = nil
            return false
        }
        seen = (status.modified, status.inode, status.size)
        let configuration = ResolverConfiguration(parsing: text)
        servers = configuration.servers.compactMap { SocketAddress($0, port: DNSMessage.port) }
        domain = configuration.domain
        search = configuration.search
        return servers != before
    }
}
