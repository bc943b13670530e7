// SPDX-License-Identifier: Apache-2.0
import AddressService
import Platform
import Wire

/// The host's resolvers, from `/etc/resolv.conf`, read again when the file has changed.
package final class Resolvers {
    private let path: String
    /// Ours, which must not be asked by ourselves.
    private let excluded: IPv4Address
    private var seen: (modified: Int64, inode: UInt64, size: Int)?
    private var lastLook: UInt64 = 0
    package private(set) var servers: [SocketAddress] = []
    package private(set) var domain: String?
    package private(set) var search: [String] = []

    package init(path: String = "/etc/resolv.conf", excluding excluded: IPv4Address) {
        self.path = path
        self.excluded = excluded
        refresh()
    }

    /// Looks at the file, once a second at most. Returns true if the servers are others now.
    @discardableResult
    package func refresh() -> Bool {
        let now = MonotonicClock.now
        guard seen == nil || now - lastLook >= MonotonicClock.second else { return false }
        lastLook = now
        guard let status = try? Files.status(path) else {
            defer { servers = [] }
            return !servers.isEmpty
        }
        if let seen, seen == (status.modified, status.inode, status.size) { return false }
        seen = (status.modified, status.inode, status.size)
        let configuration = ResolverConfiguration(parsing: Files.text(path) ?? "")
        let before = servers
        servers = configuration.servers.compactMap { SocketAddress($0, port: 53) }.filter { $0.ipv4 != excluded }
        domain = configuration.domain
        search = configuration.search
        return servers != before
    }

    /// Those that guests can reach by themselves.
    package var reachableFromGuests: [IPv4Address] { servers.compactMap(\.ipv4).filter { !$0.isLoopback && $0 != .any } }
}
