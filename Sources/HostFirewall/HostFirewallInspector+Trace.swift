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
        var destinationType: String {
            if case .ipv6(let address) = destination, address.isMulticast { return "multicast" }
            return hook == "input" ? "local" : "unicast"
        }
    }

    enum Outcome: Equatable {
        case passes
        case dropped
        /// It depends on a condition that is not understood.
        case unknown
    }

    /// Traces `packet` through a base chain.
    static func outcome(of packet: Packet, in chain: Ruleset.Chain, of ruleset: Ruleset) -> Outcome {
        var isUncertain = false
        switch walk(chain, packet, ruleset, depth: 0, isUncertain: &isUncertain) {
        case .accept: return .passes
        case .drop: return isUncertain ? .unknown : .dropped
        default: return chain.policy != .drop ? .passes : isUncertain ? .unknown : .dropped
        }
    }

    /// The final verdict, or `return` at the end of the chain. Sets `isUncertain` if a rule that may match could accept
    /// the packet.
    private static func walk(
        _ chain: Ruleset.Chain, _ packet: Packet, _ ruleset: Ruleset, depth: Int, isUncertain: inout Bool
    ) -> Ruleset.Verdict {
        // The kernel allows 16 levels (NFT_JUMP_STACK_SIZE).
        guard depth < 16 else { return .return }
        for rule in chain.rules {
            let verdict = rule.stateVerdicts[packet.state] ?? rule.verdict
            guard let verdict, rule.stateVerdicts.isEmpty || rule.stateVerdicts[packet.state] != nil else { continue }
            switch holds(rule, packet) {
            case false:
                continue
            case nil:
                // The rule may match: find out whether it could accept the packet.
                if case .jump(let name) = verdict {
                    guard let target = ruleset.chain(name, besides: chain) else { continue }
                    if walk(target, packet, ruleset, depth: depth + 1, isUncertain: &isUncertain) == .accept {
                        isUncertain = true
                    }
                } else if verdict != .drop {
                    isUncertain = true
                }
                continue
            default:
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
                let result = walk(target, packet, ruleset, depth: depth + 1, isUncertain: &isUncertain)
                if result == .accept || result == .drop { return result }
            case .goto(let name):
                guard let target = ruleset.chain(name, besides: chain) else { continue }
                return walk(target, packet, ruleset, depth: depth + 1, isUncertain: &isUncertain)
            }
        }
        return .return
    }

    /// Whether `packet` meets all conditions of a rule; nil if that is unknown.
    private static func holds(_ rule: Ruleset.Rule, _ packet: Packet) -> Bool? {
        var result: Bool? = true
        for condition in rule.conditions {
            switch condition {
            case .inInterface(let names, let isNegated):
                if matches(packet.input, names) == isNegated { return false }
            case .outInterface(let names, let isNegated):
                guard let output = packet.output else { return false }
                if matches(output, names) == isNegated { return false }
            case .connectionState(let states, let isNegated):
                if states.contains(packet.state) == isNegated { return false }
            case .transport(let names, let isNegated):
                if names.contains(packet.transport) == isNegated { return false }
            case .destinationPort(let name, let ports, let isNegated):
                if name != packet.transport || ports.contains(packet.port) == isNegated {
                    // Ranges and service names are not parsed.
                    if name != packet.transport || ports.allSatisfy({ Int($0) != nil }) { return false }
                    result = nil
                }
            case .messageType(let isIPv6, let types, let isNegated):
                guard packet.transport == (isIPv6 ? "icmpv6" : "icmp"), let type = packet.type else { return false }
                let matching = types.map { matches(type, $0, isIPv6: isIPv6) }
                if matching.contains(true) == isNegated {
                    if isNegated || matching.allSatisfy({ $0 != nil }) { return false }
                    result = nil
                }
            case .version(let isIPv6):
                if packet.source.isIPv6 != isIPv6 { return false }
            case .address(let isIPv6, let isSource, let patterns, let isNegated):
                let address = isSource ? packet.source : packet.destination
                guard address.isIPv6 == isIPv6 else { return false }
                let containing = patterns.map { contains(address, $0) }
                if containing.contains(true) == isNegated {
                    if isNegated || containing.allSatisfy({ $0 != nil }) { return false }
                    result = nil
                }
            case .destinationType(let types, let isNegated):
                if types.contains(packet.destinationType) == isNegated { return false }
            case .never:
                return false
            case .other:
                result = nil
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

    /// Whether an address is `text`, or in the network `ADDRESS/LENGTH`; nil for ranges and names of sets, which are
    /// not parsed.
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
