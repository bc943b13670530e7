// SPDX-License-Identifier: Apache-2.0
import Wire

extension HostFirewallInspector {
    /// A packet whose way through the rules is traced.
    struct Packet {
        var hook: String
        var source: IPAddress
        var destination: IPAddress
        var input: String
        var output: String?
        var state: String
        var transport: String
        /// The destination port; empty if the transport has none.
        var port = ""
        /// The type of an ICMP or ICMPv6 message.
        var type: UInt8?

        /// What the destination is to this host, as rules name it.
        var destinationType: String { isMulticast ? "multicast" : isToHost ? "local" : "unicast" }

        /// Whether this host is the destination.
        var isToHost = false

        var isMulticast: Bool {
            if case .ipv6(let address) = destination { address.isMulticast } else { false }
        }

        /// The hop limits, or TTL, that packets of this kind have: those of common systems, less one if the kernel has
        /// forwarded them.
        var hopLimits: [UInt64] {
            if let type, transport == "icmpv6", ICMPv6Type.isNeighborDiscovery(type) { return [255] }
            return hook == "prerouting" || hook == "input" ? [64, 128, 255] : [63, 127, 254]
        }
    }

    enum Outcome: Equatable {
        case passes
        case dropped
        /// It depends on a condition that is not understood.
        case unknown
    }

    /// What the rules that are not understood could do to a packet.
    struct Doubts {
        /// One of them could accept it.
        var mayPass = false
        /// Those that could drop it.
        var dropping: Set<RulePlace> = []
        /// The first of them.
        var first: RulePlace?
    }

    /// How a rule applies to a packet.
    private enum Match {
        case no, yes
        /// To some packets of guests only, such as those above a rate.
        case sometimes
        /// A condition is not understood.
        case unknown
    }

    /// Traces `packet` through a base chain, and adds to the doubts of packets before.
    static func outcome(
        of packet: Packet, in chain: Ruleset.Chain, of ruleset: Ruleset, sets: NamedSets?, doubts: inout Doubts
    ) -> Outcome {
        doubts.mayPass = false
        switch walk(chain, packet, ruleset, sets, depth: 0, doubts: &doubts) {
        case .accept: return .passes
        case .drop: return doubts.mayPass ? .unknown : .dropped
        default: return chain.policy != .drop ? .passes : doubts.mayPass ? .unknown : .dropped
        }
    }

    /// The final verdict, or `return` at the end of the chain.
    private static func walk(
        _ chain: Ruleset.Chain, _ packet: Packet, _ ruleset: Ruleset, _ sets: NamedSets?, depth: Int,
        doubts: inout Doubts
    ) -> Ruleset.Verdict {
        // The kernel allows 16 levels (NFT_JUMP_STACK_SIZE).
        guard depth < 16 else { return .return }
        for (index, rule) in chain.rules.enumerated() {
            let verdict = rule.stateVerdicts[packet.state] ?? rule.verdict
            guard let verdict, rule.stateVerdicts.isEmpty || rule.stateVerdicts[packet.state] != nil else { continue }
            let match = match(rule, packet, ruleset.setsMarks) { sets?.contains($0, $1, of: chain) }
            switch match {
            case .no:
                continue
            case .sometimes, .unknown:
                // The rule may match: find out what it could do to the packet.
                var result: Ruleset.Verdict? = verdict
                if let name = verdict.target {
                    result = ruleset.chain(name, besides: chain).map {
                        walk($0, packet, ruleset, sets, depth: depth + 1, doubts: &doubts)
                    }
                }
                if result == .accept || verdict.endsChain { doubts.mayPass = true }
                if result == .drop, match == .unknown {
                    let place = RulePlace(chain, index)
                    doubts.dropping.insert(place)
                    doubts.first = doubts.first ?? place
                }
                continue
            case .yes:
                break
            }
            switch verdict {
            case .accept, .drop, .return:
                return verdict
            case .jump(let name):
                guard let target = ruleset.chain(name, besides: chain) else {
                    // An iptables target that is not a chain, such as MARK or TCPMSS, does not end the traversal.
                    continue
                }
                let result = walk(target, packet, ruleset, sets, depth: depth + 1, doubts: &doubts)
                if result == .accept || result == .drop { return result }
            case .goto(let name):
                guard let target = ruleset.chain(name, besides: chain) else { continue }
                return walk(target, packet, ruleset, sets, depth: depth + 1, doubts: &doubts)
            }
        }
        return .return
    }

    /// Whether `packet` meets all conditions of a rule.
    /// - Parameter isInSet: whether a named set contains an address; nil if that is unknown.
    private static func match(
        _ rule: Ruleset.Rule, _ packet: Packet, _ setsMarks: Bool, isInSet: (IPAddress, Substring) -> Bool?
    ) -> Match {
        var result = Match.yes
        for condition in rule.conditions {
            switch condition {
            case .inInterface(let names, let isNegated):
                if matches(packet.input, names) == isNegated { return .no }
            case .outInterface(let names, let isNegated):
                guard let output = packet.output else { return .no }
                if matches(output, names) == isNegated { return .no }
            case .connectionState(let states, let isNegated):
                if states.contains(packet.state) == isNegated { return .no }
            case .transport(let names, let isNegated):
                if names.contains(packet.transport) == isNegated { return .no }
            case .destinationPort(let name, let ports, let isNegated):
                if name != packet.transport || ports.contains(packet.port) == isNegated {
                    // Ranges and service names are not parsed.
                    if name != packet.transport || ports.allSatisfy({ Int($0) != nil }) { return .no }
                    result = .unknown
                }
            case .messageType(let isIPv6, let types, let isNegated):
                guard packet.transport == (isIPv6 ? "icmpv6" : "icmp"), let type = packet.type else { return .no }
                let matching = types.map { matches(type, $0, isIPv6: isIPv6) }
                if matching.contains(true) == isNegated {
                    if isNegated || matching.allSatisfy({ $0 != nil }) { return .no }
                    result = .unknown
                }
            case .version(let isIPv6):
                if packet.source.isIPv6 != isIPv6 { return .no }
            case .address(let isIPv6, let isSource, let patterns, let isNegated):
                let address = isSource ? packet.source : packet.destination
                guard address.isIPv6 == isIPv6 else { return .no }
                let containing = patterns.map {
                    $0.hasPrefix("@") ? isInSet(address, $0.dropFirst()) : contains(address, $0)
                }
                if containing.contains(true) {
                    if isNegated { return .no }
                } else if containing.contains(nil) {
                    result = .unknown
                } else if !isNegated {
                    return .no
                }
            case .destinationType(let types, let isNegated):
                if types.contains(packet.destinationType) == isNegated { return .no }
            case .packetType(let types, let isNegated):
                if types.contains(packet.isMulticast ? "multicast" : "host") == isNegated { return .no }
            case .hopLimit(let isIPv6, let comparison):
                guard packet.source.isIPv6 == isIPv6 else { return .no }
                let results = packet.hopLimits.map { comparison.holds($0) }
                if results.allSatisfy({ $0 == false }) { return .no }
                if results.contains(nil) {
                    result = .unknown
                } else if results.contains(false), result == .yes {
                    result = .sometimes
                }
            case .mark(let comparison):
                // A packet has no mark until a rule sets one, and rules set marks of some packets only.
                switch comparison.holds(0) {
                case false?:
                    guard setsMarks else { return .no }
                    if result == .yes { result = .sometimes }
                case true?: if setsMarks { result = .unknown }
                case nil: result = .unknown
                }
            case .never:
                return .no
            case .sometimes:
                if result == .yes { result = .sometimes }
            case .other:
                result = .unknown
            }
        }
        return result
    }

    private static func matches(_ name: String, _ patterns: [String]) -> Bool {
        patterns.contains { $0.hasSuffix("*") ? name.hasPrefix($0.dropLast()) : $0 == name }
    }

    /// Whether a message type is `text`, a name, a number or a range; nil if `text` is not understood.
    private static func matches(_ type: UInt8, _ text: String, isIPv6: Bool) -> Bool? {
        switch text {
        case "any": return true
        case "echo-request": return type == (isIPv6 ? ICMPv6Type.echoRequest : ICMPType.echoRequest)
        case "nd-neighbor-solicit", "neighbour-solicitation": return type == ICMPv6Type.neighborSolicitation
        case "nd-neighbor-advert", "neighbour-advertisement": return type == ICMPv6Type.neighborAdvertisement
        // No packet that is traced has a type of another name.
        case _ where text.utf8.allSatisfy({ $0 == UInt8(ascii: "-") || $0 >= UInt8(ascii: "a") }): return false
        default: break
        }
        let bounds = text.split(separator: "-").map { UInt8($0) }
        guard let first = bounds.first, let first, let last = bounds.last, let last, bounds.count <= 2 else {
            return nil
        }
        return first <= type && type <= last
    }

    /// Whether an address is `text`, or in the network `ADDRESS/LENGTH`; nil for ranges, which are not
    /// parsed.
    private static func contains(_ address: IPAddress, _ text: String) -> Bool? {
        let parts = text.split(separator: "/")
        guard let first = parts.first, parts.count <= 2 else { return nil }
        let bits = address.isIPv6 ? 128 : 32
        guard let length = parts.count == 2 ? Int(parts[1]) : bits, (0...bits).contains(length) else { return nil }
        switch address {
        case .ipv4(let address):
            guard let base = IPv4Address(first) else { return nil }
            return IPv4Network(containing: base, prefixLength: length).contains(address)
        case .ipv6(let address):
            guard let base = IPv6Address(first) else { return nil }
            return IPv6Network(containing: base, prefixLength: length).contains(address)
        }
    }
}
