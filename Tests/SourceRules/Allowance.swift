// SPDX-License-Identifier: Apache-2.0

/// Places where a rule is still broken, counted for each folder: what was there when the rule came. A number may fall,
/// and is lowered then; it never rises. `swift run source_rules --all RULE FOLDER` prints the places.
package enum Allowance {
    static let counts: [Rule: [String: Int]] = [
        // The seed of each interface identifier, which must not change.
        .words: ["Sources/Daemon": 1]
    ]

    /// The folder that an offence is counted for, such as `Sources/Wire`.
    static func folder(of path: String) -> String {
        path.split(separator: "/").dropLast().prefix(2).joined(separator: "/")
    }

    /// The offences of all folders that have more than they are allowed.
    package static func exceeded(_ offences: [Offence]) -> [Offence] {
        Dictionary(grouping: offences) { [$0.rule.rawValue, folder(of: $0.path)] }.values
            .filter { $0.count > counts[$0[0].rule]?[folder(of: $0[0].path)] ?? 0 }
            .flatMap { $0 }.sorted { ($0.path, $0.line) < ($1.path, $1.line) }
    }

    /// Folders that have fewer than they are allowed, with the number that they have.
    package static func outdated(_ offences: [Offence], of rule: Rule) -> [String: Int] {
        var found: [String: Int] = [:]
        for offence in offences { found[folder(of: offence.path), default: 0] += 1 }
        return (counts[rule] ?? [:]).filter { $0.value > found[$0.key] ?? 0 }.mapValues { _ in 0 }
            .merging(found) { _, number in number }.filter { counts[rule]?[$0.key] ?? 0 > $0.value }
    }
}
