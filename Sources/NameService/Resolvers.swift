// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// The host's resolvers, from `/etc/resolv.conf`, read again when the file has changed, has gone, or is back.
package final class Resolvers {
    private let path: String
    /// nil while there is no file.
    private var seen: (modified: Int64, inode: UInt64, size: Int)?
    private var nextCheck = Instant.distantPast
    package private(set) var servers: [SocketAddress] = []
    package private(set) var domain: String?
    package private(set) var search: [String] = []

    package init(path: String = "/etc/resolv.conf") {
        self.path = path
        refresh()
    }

    /// Looks at the file, once a second at most, and at every call while there is none. Returns true if the servers are
    /// others now.
    @discardableResult
    package func refresh(now: Instant = BootClock.now) -> Bool {
        guard seen == nil || now >= nextCheck else { return false }
        nextCheck = now + .seconds(1)
        let before = servers
        guard let status = try? Files.status(path) else {
            // The same file may come back.
            seen = nil
            servers = []
            return before != servers
        }
        if let seen, seen == (status.modified, status.inode, status.size) { return false }
        guard let text = Files.text(path) else {
            // It is there, and cannot be read just now, for want of descriptors for instance.
            seen = nil
            return false
        }
        seen = (status.modified, status.inode, status.size)
        let configuration = ResolverConfiguration(parsing: text)
        servers = configuration.servers.compactMap { SocketAddress($0, port: 53) }
        domain = configuration.domain
        search = configuration.search
        return servers != before
    }
}
