// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The servers for guests' queries: the host's resolvers from `/etc/resolv.conf`, or those that the user has chosen in
/// their place. The file is read again when it has changed, and when it is back after it was missing.
///
/// systemd-resolved writes a file with the servers of all interfaces, for programs that cannot use its own server (its
/// stub). If `/etc/resolv.conf` leads to that file, the stub is the first resolver: it sends names of a VPN's domains
/// to the VPN's servers, as they are at that time.
package final class Resolvers {
    private static let uplinkFile = "resolv.conf", stubFile = "stub-resolv.conf"

    private let path: String
    /// The directory of systemd-resolved's files.
    private let stubDirectory: String
    /// In place of the host's; empty if there are none.
    private let chosen: [SocketAddress]
    /// The servers of some domains.
    let routes: [DNSRoute<SocketAddress>]
    /// The file that was read; nil while there is none.
    private var seen: (modified: Int64, inode: UInt64, size: Int)?
    private var nextCheck = Instant.distantPast
    /// In order of preference.
    package private(set) var servers: [SocketAddress] = []
    /// The local domain.
    package private(set) var domain: String?
    /// Search domains.
    package private(set) var search: [String] = []

    /// Reads the file.
    /// - Parameters:
    ///   - servers: those without a domain take the place of the host's.
    ///   - stubDirectory: of systemd-resolved's files.
    package init(
        path: String = "/etc/resolv.conf", servers: [NameServer] = [],
        stubDirectory: String = "/run/systemd/resolve"
    ) {
        self.path = path
        self.stubDirectory = stubDirectory
        chosen = servers.filter { $0.domain == nil }.map(\.server)
        var routes: [DNSRoute<SocketAddress>] = []
        for one in servers {
            guard let domain = one.domain else { continue }
            if let index = routes.firstIndex(where: { $0.domain == domain }) {
                routes[index].servers.append(one.server)
            } else {
                routes.append(DNSRoute(domain: domain, servers: [one.server]))
            }
        }
        self.routes = routes
        self.servers = chosen
        refresh()
    }

    /// The servers of `routes`, as `DOMAIN=ADDRESS:PORT`.
    package var domainServers: [String] { routes.flatMap { route in route.servers.map { "\(route.domain)=\($0)" } } }

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
            servers = chosen
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
        servers = chosen.isEmpty ? stubServers + Resolvers.servers(of: configuration) : chosen
        domain = configuration.domain
        search = configuration.search
        return servers != before
    }

    private static func servers(of configuration: ResolverConfiguration) -> [SocketAddress] {
        configuration.servers.compactMap { SocketAddress($0, port: DNSMessage.port) }
    }

    /// systemd-resolved's own server, if the file is its list of all servers.
    private var stubServers: [SocketAddress] {
        guard let file = try? Files.realPath(path),
            file == (try? Files.realPath("\(stubDirectory)/\(Resolvers.uplinkFile)")),
            let stub = try? Files.realPath("\(stubDirectory)/\(Resolvers.stubFile)"), stub != file,
            let text = Files.text(stub)
        else { return [] }
        return Resolvers.servers(of: ResolverConfiguration(parsing: text))
    }
}
