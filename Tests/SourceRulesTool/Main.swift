// SPDX-License-Identifier: Apache-2.0
import Foundation
import SourceRules

/// Prints every place where a rule is broken, as compilers do.
///
///     swift run source_rules [RULE...] [PATH...]     all rules, all files; exit 1 if any is broken
///     swift run source_rules --all [...]             also the places that `Allowance` tolerates
///     swift run source_rules unsafe-shares           how much of each target is unsafe
@main
struct Tool {
    static func main() throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        let tree = try SourceTree(root: FileManager.default.currentDirectoryPath)
        if arguments == ["unsafe-shares"] {
            for share in Confinement.unsafeShares(tree) { print(share) }
            return
        }
        let rules = arguments.compactMap(Rule.init(rawValue:))
        let showsAll = arguments.contains("--all")
        let paths = arguments.filter { Rule(rawValue: $0) == nil && $0 != "--all" }
        var count = 0
        for rule in rules.isEmpty ? Rule.allCases : rules {
            let all = rule.offences(in: tree)
            let offences = (showsAll ? all : Allowance.exceeded(all)).filter { offence in
                paths.isEmpty || paths.contains { offence.path.hasPrefix($0) }
            }
            for offence in offences { print(offence) }
            count += offences.count
        }
        print(count == 0 ? "The source rules are kept." : "The source rules are broken in \(count) places.")
        exit(count == 0 ? 0 : 1)
    }
}
