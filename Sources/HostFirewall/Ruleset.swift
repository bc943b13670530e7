// SPDX-License-Identifier: Apache-2.0
import Wire

/// The chains of a host's firewall, as `nft list ruleset` prints them (nft(8)). iptables' own rules appear there too,
/// except with iptables-legacy, whose listing is read into the same form.
package struct Ruleset: Equatable, Sendable {
    /// What a rule does with a packet that it matches.
    package enum Verdict: Equatable, Sendable {
        case accept, drop, `return`
        case jump(String)
        case goto(String)

        /// The chain that it leads to.
        var target: String? {
            switch self {
            case .jump(let name), .goto(let name): name
            case .accept, .drop, .return: nil
            }
        }

        /// Whether rules after it may be skipped without a drop.
        var endsChain: Bool {
            switch self {
            case .accept, .return, .goto: true
            case .drop, .jump: false
            }
        }
    }

    /// One condition of a rule. What is not understood is kept as `other`, which may or may not hold.
    package enum Condition: Equatable, Sendable {
        /// Interface names, perhaps with a trailing `*`; `isNegated` for "none of these".
        case inInterface([String], isNegated: Bool)
        case outInterface([String], isNegated: Bool)
        case connectionState([String], isNegated: Bool)
        /// A protocol that the packet would have to have.
        case transport([String], isNegated: Bool)
        case destinationPort(protocolName: String, [String], isNegated: Bool)
        /// Message types of ICMP or ICMPv6: names, numbers or ranges.
        case messageType(isIPv6: Bool, [String], isNegated: Bool)
        /// The version of IP that the packet would have to have.
        case version(isIPv6: Bool)
        /// Addresses or networks that the packet's source or destination would have to be in. A packet of the other
        /// version of IP never meets it.
        case address(isIPv6: Bool, isSource: Bool, [String], isNegated: Bool)
        /// `fib daddr type local` and its kin: what the destination is to this host.
        case destinationType([String], isNegated: Bool)
        /// `meta pkttype`: what the frame's destination is to this host.
        case packetType([String], isNegated: Bool)
        /// The hop limit of IPv6, or the TTL of IPv4.
        case hopLimit(isIPv6: Bool, Comparison)
        /// The mark of the packet or of its connection.
        case mark(Comparison)
        /// A condition that packets of guests never meet, such as a destination NAT.
        case never
        /// A condition that some packets of guests meet and others do not, such as a rate or a length.
        case sometimes
        case other
    }

    /// A number that is compared with others, or with ranges.
    package struct Comparison: Equatable, Sendable {
        /// `==`, `!=`, `<` and so on.
        package let comparator: String
        /// Decimal or hexadecimal numbers, or ranges of them. One of them has to match.
        package let values: [String]

        /// Whether it holds for a number; nil if it is not understood.
        package func holds(_ number: UInt64) -> Bool? {
            var isContained: Bool? = false
            for value in values {
                let bounds = value.split(separator: "-").map(Comparison.number)
                guard let first = bounds.first, let first, let last = bounds.last, let last, bounds.count <= 2 else {
                    isContained = isContained == true ? true : nil
                    continue
                }
                switch comparator {
                case "<": return number < first
                case "<=": return number <= first
                case ">": return number > first
                case ">=": return number >= first
                default: if first <= number && number <= last { isContained = true }
                }
            }
            return isContained.map { $0 != (comparator == "!=") }
        }

        private static func number(_ text: Substring) -> UInt64? {
            text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
        }
    }

    /// One rule: a packet that meets all conditions gets the verdict.
    package struct Rule: Equatable, Sendable {
        /// All of them must hold.
        package var conditions: [Condition] = []
        /// nil for rules that only count or log.
        package var verdict: Verdict?
        /// `ct state vmap { established : accept, ... }`.
        package var stateVerdicts: [String: Verdict] = [:]
    }

    /// A chain of a table, with its rules in order.
    package struct Chain: Equatable, Sendable {
        /// The address family of the table, such as `inet`.
        package let family: String
        /// The name of its table, unique within the family.
        package let table: String
        /// Unique within the table.
        package let name: String
        /// Whether a base chain filters. Others translate addresses or choose routes.
        package var isFilter = true
        /// `forward`, `input` and so on for base chains.
        package var hook: String?
        /// The verdict at the end of a base chain.
        package var policy: Verdict = .accept
        /// In the order in which the kernel evaluates them.
        package var rules: [Rule] = []
    }

    /// The chains of all tables.
    package private(set) var chains: [Chain] = []

    /// Whether a rule sets marks of packets or connections, or may do so.
    package private(set) var setsMarks = false

    /// The chain of this name in the same table as another one.
    package func chain(_ name: String, besides chain: Chain) -> Chain? {
        chains.first { $0.name == name && $0.table == chain.table && $0.family == chain.family }
    }

    /// A firewall without rules.
    package init() {}

    // MARK: nft

    /// Parses the output of `nft list ruleset`.
    package init(nft text: String) {
        var table: (family: String, name: String)?
        var chain: Chain?
        var depth = 0
        for line in text.split(separator: "\n") {
            let words = Ruleset.words(line)
            guard let first = words.first, !first.hasPrefix("#") else { continue }
            let opens = words.count { $0 == "{" }, closes = words.count { $0 == "}" }
            switch (depth, first) {
            case (0, "table") where words.count >= 3:
                table = (words[1], words[2])
            case (1, "chain") where words.count >= 2:
                if let table { chain = Chain(family: table.family, table: table.name, name: words[1]) }
            case (2, "type") where chain != nil:
                chain!.isFilter = words[1...].first == "filter"
                if let hook = words.firstIndex(of: "hook"), hook + 1 < words.count { chain!.hook = words[hook + 1] }
                if let policy = words.firstIndex(of: "policy"), policy + 1 < words.count,
                    words[policy + 1].hasPrefix("drop")
                {
                    chain!.policy = .drop
                }
            case (2, _) where chain != nil && first != "}":
                if NFTRuleParser.setsMark(words) { setsMarks = true }
                var parser = NFTRuleParser(words)
                chain!.rules.append(parser.parse())
            default:
                break
            }
            depth += opens - closes
            if depth == 1, let finished = chain {
                chains.append(finished)
                chain = nil
            }
            if depth == 0 { table = nil }
        }
    }

    /// The words of a line, quoted ones without their quotes, commas and semicolons gone.
    private static func words(_ line: Substring) -> [String] {
        var words: [String] = []
        var word = ""
        var isQuoted = false, wasQuoted = false
        for character in line {
            if character == "\"" {
                isQuoted.toggle()
                wasQuoted = true
            } else if !isQuoted, character == " " || character == "\t" || character == "," || character == ";" {
                if !word.isEmpty || wasQuoted { words.append(word) }
                (word, wasQuoted) = ("", false)
            } else {
                word.append(character)
            }
        }
        if !word.isEmpty || wasQuoted { words.append(word) }
        return words
    }

    /// Matches of iptables that some packets of guests meet and others do not.
    static let matchesOfSomePackets = [
        "limit", "hashlimit", "connlimit", "connbytes", "length", "recent", "statistic", "string", "time", "u32",
        "quota", "frag", "tcpmss",
    ]

    /// One name for a protocol that listings write as a name or a number.
    static func transport(_ name: String) -> String {
        switch name {
        case "1": "icmp"
        case "6": "tcp"
        case "17": "udp"
        case "58", "ipv6-icmp": "icmpv6"
        default: name
        }
    }

    // MARK: iptables-legacy

    /// Reads what `iptables-legacy-save -t filter` or `ip6tables-legacy-save -t filter` prints.
    package init(iptables text: String, isIPv6: Bool = false) {
        var policies: [String: Verdict] = [:]
        var rules: [String: [Rule]] = [:]
        var order: [String] = []
        for line in text.split(separator: "\n") {
            let words = Ruleset.words(line)
            guard let first = words.first else { continue }
            if first.hasPrefix(":") {
                let name = String(first.dropFirst())
                order.append(name)
                if words.count > 1 { policies[name] = words[1] == "DROP" ? .drop : .accept }
            } else if first == "-A", words.count > 1 {
                rules[words[1], default: []].append(Ruleset.legacyRule(Array(words.dropFirst(2)), isIPv6: isIPv6))
            }
        }
        // The table mangle is not read.
        setsMarks = true
        let hooks = ["INPUT": "input", "FORWARD": "forward", "OUTPUT": "output"]
        chains = order.map { name in
            Chain(
                family: isIPv6 ? "ip6" : "ip", table: "filter", name: name, hook: hooks[name],
                policy: policies[name] ?? .accept,
                rules: rules[name] ?? [])
        }
    }

    private static func legacyRule(_ words: [String], isIPv6: Bool) -> Rule {
        var rule = Rule()
        var isNegated = false
        var index = 0
        var transport = ""
        while index < words.count {
            let value = index + 1 < words.count ? words[index + 1] : ""
            switch words[index] {
            case "!":
                isNegated = true
                index += 1
                continue
            case "-i":
                rule.conditions.append(.inInterface([value.replacing(text: "+", with: "*")], isNegated: isNegated))
            case "-o":
                rule.conditions.append(.outInterface([value.replacing(text: "+", with: "*")], isNegated: isNegated))
            case "-s", "-d":
                rule.conditions.append(
                    .address(isIPv6: isIPv6, isSource: words[index] == "-s", [value], isNegated: isNegated))
            case "-p":
                transport = value
                rule.conditions.append(.transport([Ruleset.transport(value)], isNegated: isNegated))
            case "--icmp-type", "--icmpv6-type":
                rule.conditions.append(.messageType(isIPv6: isIPv6, [value], isNegated: isNegated))
            case "--dport":
                rule.conditions.append(.destinationPort(protocolName: transport, [value], isNegated: isNegated))
            case "--ctstate", "--state":
                // The comma of RELATED,ESTABLISHED was taken for a separator: each further state is a separate word.
                var states = [value.lowercased()]
                while index + 2 < words.count,
                    ["RELATED", "ESTABLISHED", "NEW", "INVALID", "UNTRACKED"].contains(words[index + 2])
                {
                    states.append(words[index + 2].lowercased())
                    index += 1
                }
                rule.conditions.append(.connectionState(states, isNegated: isNegated))
            case "-m" where ["conntrack", "state", "tcp", "udp", "icmp", "icmp6", "comment"].contains(value): break
            case "-m" where Ruleset.matchesOfSomePackets.contains(value), "--tcp-flags", "--syn", "--sport":
                // Its options are no conditions.
                rule.conditions.append(.sometimes)
                index += 2
                while index < words.count, !["-m", "-j", "-g", "--comment"].contains(words[index]) { index += 1 }
                isNegated = false
                continue
            case "--comment": break
            case "-j", "-g":
                let target = ["ACCEPT": Verdict.accept, "DROP": .drop, "REJECT": .drop, "RETURN": .return, "LOG": nil][
                    value]
                rule.verdict = target ?? (words[index] == "-g" ? .goto(value) : .jump(value))
                if value == "LOG" { rule.verdict = nil }
                return rule
            default: rule.conditions.append(.other)
            }
            isNegated = false
            index += 2
        }
        return rule
    }
}
