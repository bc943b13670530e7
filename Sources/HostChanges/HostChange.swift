// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import NetworkModel
import Platform
import Wire

/// A change of the host that outlives this process, in the form in which a record lists it.
package enum HostChange: Equatable, Sendable {
    /// An nftables table of the family inet.
    case table(String)
    /// A kernel setting, with the value to go back to.
    case setting(KernelSetting, before: String)
    /// A port of an Open vSwitch bridge, which outlives its interface.
    case switchPort(String, bridge: String)
    /// The routing rule that keeps a guest network reachable (`PolicyRouting`).
    case rule(RuleNetwork, preference: UInt32)

    /// DNS servers of an interface in systemd-resolved, which outlive the process if the interface does.
    case resolver(interface: String)

    /// A file in `/etc/resolver` (macOS).
    case resolverFile(domain: String)

    /// The change as a line of a record.
    package var line: String {
        switch self {
        case .table(let name): "table \(name)"
        case .setting(let setting, let before): "setting \(setting.path) \(before)"
        case .switchPort(let port, let bridge): "switch-port \(port) \(bridge)"
        case .rule(let network, let preference): "rule \(network) \(preference)"
        case .resolver(let interface): "resolver \(interface)"
        case .resolverFile(let domain): "resolver-file \(domain)"
        }
    }

    /// Parses a line of a record; nil for a line that this program does not write.
    package init?(_ line: Substring) {
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        switch words.first {
        case "table" where words.count == 2 && NATTable.isTableName(words[1]): self = .table(words[1])
        case "setting" where words.count == 3:
            guard let setting = KernelSetting(recorded: words[1]), KernelSetting.recordedValues.contains(words[2])
            else { return nil }
            self = .setting(setting, before: words[2])
        // A name that begins with a dash would be an option of the tool that takes the port away.
        case "switch-port"
        where words.count == 3 && words[1...].allSatisfy({ NetworkInterfaces.isName($0) && !$0.hasPrefix("-") }):
            self = .switchPort(words[1], bridge: words[2])
        case "rule" where words.count == 3:
            guard let network = HostChange.network(words[1]), let preference = UInt32(words[2]),
                (1..<32_766).contains(preference)
            else { return nil }
            self = .rule(network, preference: preference)
        case "resolver"
        where words.count == 2 && NetworkInterfaces.isName(words[1]) && !words[1].hasPrefix("-"):
            self = .resolver(interface: words[1])
        case "resolver-file" where words.count == 2 && ResolverFiles.isDomain(words[1]):
            self = .resolverFile(domain: words[1])
        default: return nil
        }
    }

    private static func network(_ text: String) -> RuleNetwork? {
        IPv4Network(text).map { .ipv4($0) } ?? IPv6Choice.network(text).map { .ipv6($0) }
    }
}
