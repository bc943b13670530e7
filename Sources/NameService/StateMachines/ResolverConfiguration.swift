// SPDX-License-Identifier: Apache-2.0

/// The contents of `/etc/resolv.conf` (resolver(5)).
package struct ResolverConfiguration: Equatable, Sendable {
    /// Numeric addresses in order, at most three as in the C library (MAXNS).
    package var servers: [String] = []
    /// The domains of the last `search` or `domain` line. The C library has no bound; more do not fit into a lease.
    package var search: [String] = []
    /// The local domain: the first of `search`.
    package var domain: String? { search.first }
    private static let maximumServers = 3
    private static let maximumSearch = 64

    /// Unknown lines are skipped.
    package init(parsing text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count >= 2, let first = words[0].first, first != "#", first != ";" else { continue }
            switch words[0] {
            case "nameserver" where servers.count < Self.maximumServers: servers.append(String(words[1]))
            case "search", "domain":
                search = words.dropFirst().prefix(Self.maximumSearch).filter { $0 != "." }.map(String.init)
            default: break
            }
        }
    }
}
