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

    /// Of systemd-resolved's own server.
    private static let stubAddresses = [IPv4Address(0x7f00_0035), IPv4Address(0x7f00_0036)]

    private let path: String
    /// The directory of systemd-resolved's files.
    private let stubDirectory: String
    /// In place of the host's; empty if there are none.
    private let chosen: [SocketAddress]
    /// The servers of some domains that the user has chosen.
    private let chosenDomains: [NameServer]
    /// Those of the host's own resolver; nil if they do not matter.
    private let hostDomains: HostDomains?
    private var foundDomains: [NameServer] = []
    /// The number of the report in `foundDomains`.
    private var seenReport: Int?
    /// The servers of some domains. Of two routes with one domain, the last one counts.
    private(set) var routes: [DNSRoute<SocketAddress>] = []
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
    ///   - hostDomains: what the host's own resolver uses for some domains. It does not count if that resolver itself
    ///     gets the queries, nor if the user has chosen servers in its place.
    package init(
        path: String = "/etc/resolv.conf", servers: [NameServer] = [],
        stubDirectory: String = "/run/systemd/resolve", hostDomains: HostDomains? = nil
    ) {
        self.path = path
        self.stubDirectory = stubDirectory
        chosen = servers.filter { $0.domain == nil }.map(\.server)
        chosenDomains = servers.filter { $0.domain != nil }
        self.hostDomains = hostDomains
        routes = Resolvers.routes(chosenDomains)
        self.servers = chosen
        refresh()
    }

    /// Whether the user has chosen a server.
    func isChosen(_ server: SocketAddress) -> Bool {
        chosen.contains(server) || chosenDomains.contains { $0.server == server }
    }

    /// The servers of `routes`, as `DOMAIN=ADDRESS:PORT`.
    package var domainServers: [String] { routes.flatMap { route in route.servers.map { "\(route.domain)=\($0)" } } }

    /// Checks the file, at most once a second while there is one, and at every call while there is none; and takes over
    /// what the host's own resolver has reported.
    /// - Returns: whether the servers have changed.
    @discardableResult
    package func refresh(now: Instant = BootClock.now) -> Bool {
        guard seen == nil || now >= nextCheck || hostDomains?.reports != seenReport else { return false }
        nextCheck = now + .seconds(1)
        let isFileNew = readFile(), areDomainsNew = readDomains(now)
        return isFileNew || areDomainsNew
    }

    /// The servers of `domains` by domain.
    private static func routes(_ domains: [NameServer]) -> [DNSRoute<SocketAddress>] {
        var routes: [DNSRoute<SocketAddress>] = []
        for one in domains {
            guard let domain = one.domain else { continue }
            if let index = routes.firstIndex(where: { $0.domain == domain }) {
                routes[index].servers.append(one.server)
            } else {
                routes.append(DNSRoute(domain: domain, servers: [one.server]))
            }
        }
        return routes
    }

    private func readDomains(_ now: Instant) -> Bool {
        guard let hostDomains, chosen.isEmpty else {
            seenReport = hostDomains?.reports
            return false
        }
        let usesStub = servers.contains { $0.ipv4.map(Resolvers.stubAddresses.contains) ?? false }
        if !usesStub { hostDomains.refresh(now: now) }
        seenReport = hostDomains.reports
        let found = usesStub ? [] : hostDomains.servers
        guard found != foundDomains else { return false }
        foundDomains = found
        routes = Resolvers.routes(found) + Resolvers.routes(chosenDomains)
        return true
    }

    private func readFile() -> Bool {
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
