// SPDX-License-Identifier: Apache-2.0

/// Parses one rule as `nft list ruleset` prints it (nft(8), "EXPRESSIONS" and "STATEMENTS"), word by word.
struct NFTRuleParser {
    private static let verdicts = ["accept", "drop", "reject", "return", "jump", "goto"]

    /// Words that begin a statement or a condition.
    private static let starts = [
        "counter", "log", "comment", "ct", "iifname", "oifname", "iif", "oif", "fib", "meta", "ip", "ip6", "tcp", "udp",
        "icmp", "icmpv6", "limit",
    ]

    private let words: [String]
    private var index = 0
    private var rule = Ruleset.Rule()

    /// - Parameter words: of one line, without quotes, commas and semicolons.
    init(_ words: [String]) { self.words = words }

    /// Returns the rule. To be called once.
    mutating func parse() -> Ruleset.Rule {
        while index < words.count {
            if !parseStatement() && !parseConntrack() && !parseMatch() { skipUnknown() }
        }
        return rule
    }

    /// Whether a rule sets the mark of a packet or a connection.
    static func setsMark(_ words: [String]) -> Bool {
        words.indices.dropFirst().contains { index in
            words[index] == "set" && words[index - 1] == "mark"
                || words[index - 1] == "target" && ["MARK", "CONNMARK"].contains(words[index])
        }
    }

    /// The word at an offset from the current one; empty after the end.
    private func word(_ offset: Int) -> String { index + offset < words.count ? words[index + offset] : "" }

    /// Moves after `count` words, and reads values.
    private mutating func values(after count: Int) -> (values: [String], isNegated: Bool) {
        index += count
        return values()
    }

    /// A value, or the values of a set, perhaps after `!=` or `==`; moves after them.
    private mutating func values() -> (values: [String], isNegated: Bool) {
        var isNegated = false
        if word(0) == "!=" || word(0) == "==" {
            isNegated = word(0) == "!="
            index += 1
        }
        guard word(0) == "{" else {
            index += 1
            return ([words.indices.contains(index - 1) ? words[index - 1] : ""], isNegated)
        }
        var found: [String] = []
        index += 1
        while index < words.count, words[index] != "}" {
            found.append(words[index])
            index += 1
        }
        index += 1
        return (found, isNegated)
    }

    /// A comparison with the values after `count` words; moves after them.
    private mutating func comparison(after count: Int) -> Ruleset.Comparison {
        index += count
        let comparators = ["==", "!=", "<", "<=", ">", ">="]
        let comparator = comparators.contains(word(0)) ? word(0) : "=="
        if comparators.contains(word(0)) { index += 1 }
        return Ruleset.Comparison(comparator: comparator, values: values().values)
    }

    /// Parses a verdict, or a statement that decides nothing. Returns false if there is none.
    private mutating func parseStatement() -> Bool {
        switch word(0) {
        case "counter":
            index += word(1) == "packets" ? 5 : 1
        case "log":
            index += 1
            while ["prefix", "level", "group", "flags", "snaplen", "queue-threshold"].contains(word(0)) { index += 2 }
        case "comment":
            index += 2
        case let verdict where NFTRuleParser.verdicts.contains(verdict):
            rule.verdict = NFTRuleParser.verdict(verdict, word(1))
            index = words.count
        default:
            return false
        }
        return true
    }

    /// Parses a condition of connection tracking. Returns false if there is none.
    private mutating func parseConntrack() -> Bool {
        guard word(0) == "ct" else { return false }
        switch word(1) {
        case "state" where word(2) == "vmap":
            let entries = values(after: 3).values
            for entry in stride(from: 0, to: entries.count - 2, by: 3) {
                rule.stateVerdicts[entries[entry]] = NFTRuleParser.verdict(entries[entry + 2], "")
            }
        case "state":
            let (states, isNegated) = values(after: 2)
            // `established,related` outside of a set is split at the comma like any other list.
            var all = states
            while ["established", "related", "new", "invalid", "untracked"].contains(word(0)) {
                all.append(word(0))
                index += 1
            }
            rule.conditions.append(.connectionState(all, isNegated: isNegated))
        case "status":
            // No guest's packet has been through a destination NAT.
            if !values(after: 2).isNegated { rule.conditions.append(.never) }
        case "mark" where word(2) == "set":
            skip(nil)
        case "mark":
            parseMark()
        case "count", "bytes", "packets", "avgpkt":
            skip(.sometimes)
        default:
            return false
        }
        return true
    }

    /// Parses a condition on interfaces, addresses or protocols. Returns false if there is none.
    private mutating func parseMatch() -> Bool {
        switch (word(0), word(1)) {
        case ("iifname", _), ("iif", _):
            let (names, isNegated) = values(after: 1)
            rule.conditions.append(.inInterface(names, isNegated: isNegated))
        case ("oifname", _), ("oif", _):
            let (names, isNegated) = values(after: 1)
            rule.conditions.append(.outInterface(names, isNegated: isNegated))
        case ("fib", "daddr") where word(2) == "type":
            let (types, isNegated) = values(after: 3)
            rule.conditions.append(.destinationType(types, isNegated: isNegated))
        case ("meta", "nfproto"):
            let (versions, isNegated) = values(after: 2)
            if versions.count == 1 { rule.conditions.append(.version(isIPv6: (versions[0] == "ipv6") != isNegated)) }
        case ("fib", "saddr") where words.contains("missing"):
            // The host has a route to every guest.
            skip(.never)
        case ("limit", _), ("quota", _), ("numgen", _), ("exthdr", _), ("frag", _), ("rt", _), ("hbh", _), ("dst", _),
            ("meta", "length"), ("meta", "time"), ("meta", "hour"), ("meta", "day"), ("meta", "random"), ("add", _),
            ("update", _), ("ip", "frag-off"), ("ip", "length"), ("ip", "id"), ("ip6", "length"), ("ip", "option"):
            skip(.sometimes)
        case ("xt", "match") where Ruleset.matchesOfSomePackets.contains(word(2)):
            skip(.sometimes)
        case ("meta", "mark") where word(2) == "set":
            skip(nil)
        case ("meta", "mark"):
            parseMark()
        case ("meta", "pkttype"):
            let (types, isNegated) = values(after: 2)
            rule.conditions.append(.packetType(types, isNegated: isNegated))
        case ("ip", "ttl"), ("ip6", "hoplimit"):
            let isIPv6 = word(0) == "ip6"
            rule.conditions.append(.hopLimit(isIPv6: isIPv6, comparison(after: 2)))
        case ("meta", "l4proto") where word(2) != ".":
            let (names, isNegated) = values(after: 2)
            rule.conditions.append(.transport(names.map(Ruleset.transport), isNegated: isNegated))
        case ("ip", "protocol"), ("ip6", "nexthdr"):
            rule.conditions.append(.version(isIPv6: word(0) == "ip6"))
            let (names, isNegated) = values(after: 2)
            rule.conditions.append(.transport(names.map(Ruleset.transport), isNegated: isNegated))
        case (let name, let field) where (name == "ip" || name == "ip6") && (field == "saddr" || field == "daddr"):
            let (addresses, isNegated) = values(after: 2)
            rule.conditions.append(
                .address(isIPv6: name == "ip6", isSource: field == "saddr", addresses, isNegated: isNegated))
        case (let name, "dport") where name == "tcp" || name == "udp":
            let (ports, isNegated) = values(after: 2)
            rule.conditions.append(.destinationPort(protocolName: name, ports, isNegated: isNegated))
            rule.conditions.append(.transport([name], isNegated: false))
        case ("tcp", _), ("udp", _):
            // Flags, options and source ports.
            rule.conditions.append(.transport([word(0)], isNegated: false))
            skip(.sometimes)
        case (let name, let field) where name == "icmp" || name == "icmpv6":
            let (types, isNegated) = values(after: 2)
            rule.conditions.append(
                field == "type" ? .messageType(isIPv6: name == "icmpv6", types, isNegated: isNegated) : .other)
            rule.conditions.append(.transport([name], isNegated: false))
        case ("ip6", _):
            // Any other field of the header.
            rule.conditions += [.version(isIPv6: true), .other]
            _ = values(after: 2)
        default:
            return false
        }
        return true
    }

    /// Parses `meta mark` or `ct mark`, perhaps with a mask: the bits that it leaves of 0 are 0.
    private mutating func parseMark() {
        rule.conditions.append(.mark(comparison(after: word(2) == "&" ? 4 : 2)))
    }

    /// Passes over an unknown condition, which may hold or not, up to the verdict.
    private mutating func skipUnknown() {
        rule.conditions.append(.other)
        index += 1
        while index < words.count, words[index] != "counter", !NFTRuleParser.verdicts.contains(words[index]) {
            index += 1
        }
    }

    /// Passes over a condition that is not evaluated further, or a statement, up to the next one.
    private mutating func skip(_ condition: Ruleset.Condition?) {
        if let condition { rule.conditions.append(condition) }
        index += 2
        var depth = 0
        while index < words.count,
            depth > 0
                || !NFTRuleParser.starts.contains(words[index]) && !NFTRuleParser.verdicts.contains(words[index])
        {
            depth += words[index] == "{" ? 1 : words[index] == "}" ? -1 : 0
            index += 1
        }
    }

    private static func verdict(_ word: String, _ target: String) -> Ruleset.Verdict? {
        switch word {
        case "accept": .accept
        case "drop", "reject": .drop
        case "return": .return
        case "jump": .jump(target)
        case "goto": .goto(target)
        default: nil
        }
    }
}
