// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform
import Wire

/// Translates the command line of vde_switch, which allows long options with one dash and abbreviated
/// (getopt_long_only(3)).
enum VDESwitchArguments {
    private static let withValue: Set<String> = [
        "sock", "unix", "vdesock", "tap", "numports", "pidfile", "mode", "mod", "dirmode", "group", "mgmt", "mgmtmode",
        "mgmtgroup", "rcfile", "workers", "log-level",
    ]
    private static let flags: Set<String> = ["hub", "daemon", "nostdin", "help", "version"]
    /// Options of vde_switch that are not supported, with the reason.
    private static let unknown: [String: String] = [
        "fstp": "there is no spanning tree; loops are detected, and a port of the loop is blocked",
        "F": "there is no spanning tree; loops are detected, and a port of the loop is blocked",
        "macaddr": "it configures the spanning tree, which is not supported",
        "priority": "it configures the spanning tree, which is not supported",
        "hashsize": "the address table has a fixed size", "debugclients": "the console has no debug categories",
        "D": "the console has no debug categories",
    ]

    /// The arguments with each long option in full and with two dashes.
    static func normalized(_ arguments: [String]) throws(ExitError) -> [String] {
        var result: [String] = []
        var isValue = false
        for (index, argument) in arguments.enumerated() {
            if isValue || argument == "-" || !argument.hasPrefix("-") {
                isValue = false
                result.append(argument)
                continue
            }
            if argument == "--" { return result + arguments[index...] }
            let name = String(argument.drop { $0 == "-" }.prefix { $0 != "=" })
            let rest = argument.drop { $0 == "-" }.dropFirst(name.count)
            if let reason = unknown[name] { throw ExitError(.usage, "\(argument): \(reason); leave it out") }
            if !argument.hasPrefix("--"), name.count == 1 || expand(name) == nil {
                let (words, needsValue) = letters(argument.dropFirst())
                result += words
                isValue = needsValue
            } else if let long = expand(name) {
                result.append("--" + long + rest)
                isValue = withValue.contains(long) && rest.isEmpty
            } else {
                result.append(argument)
            }
        }
        return result
    }

    /// Letters after one dash: flags, until one takes the rest, or the next word, for its value.
    private static func letters(_ text: Substring) -> (words: [String], needsValue: Bool) {
        var words: [String] = []
        var rest = text
        while let letter = rest.popFirst() {
            words.append(letter == "v" ? "--version" : "-\(letter)")
            guard "stnpmgMf".contains(letter) else { continue }
            if rest.isEmpty { return (words, true) }
            return (words + [String(rest)], false)
        }
        return (words, false)
    }

    /// Whether `word` is an option of vde_switch.
    static func isKnown(_ word: String) -> Bool {
        let name = String(word.drop { $0 == "-" })
        return unknown[name] != nil || withValue.union(flags).contains(name)
            || (name.count == 1 && "stnpmgMfxdFD".contains(text: name))
    }

    /// The option that `name` is, or begins in only one way.
    private static func expand(_ name: String) -> String? {
        let all = withValue.union(flags)
        if all.contains(name) { return name }
        let candidates = all.filter { $0.hasPrefix(name) }
        return candidates.count == 1 ? candidates.first : nil
    }
}
