// SPDX-License-Identifier: Apache-2.0

/// What `/etc/resolv.conf` says (resolver(5)).
package struct ResolverConfiguration: Equatable, Sendable {
    /// Numeric addresses in order, at most three as the C library has it.
    package var servers: [String] = []
    /// The domains of the last `search` or `domain` line, at most as many as the C library of old has.
    package var search: [String] = []
    /// The local domain: of `search`, the first.
    package var domain: String? { search.first }
    private static let maximumSearch = 6

    package init(parsing text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            guard words.count >= 2, let first = words[0].first, first != "#", first != ";" else { continue }
            switch words[0] {
            case "nameserver" where servers.count < 3: servers.append(String(words[1]))
            case "search", "domain":
                search = words.dropFirst().prefix(Self.maximumSearch).filter { $0 != "." }.map(String.init)
            default: break
            }
        }
    }
}
