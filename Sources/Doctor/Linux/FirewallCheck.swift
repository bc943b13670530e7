// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import Platform

/// Rules of other programs that drop guests' packets.
struct FirewallCheck: HostCheck {
    static let name = "firewall"

    enum State: Equatable, Sendable {
        /// With the reason.
        case notNeeded(String)
        /// The rules cannot be read.
        case unreadable
        case read([HostFirewallInspector.Finding])
    }

    let state: State

    static func gathered(_ scene: Scene) -> FirewallCheck {
        guard scene.isRouted else {
            return FirewallCheck(state: .notNeeded("this host does not route guests' packets"))
        }
        guard scene.capabilities.contains(.netAdmin) else { return FirewallCheck(state: .unreadable) }
        let egress = scene.path?.interface ?? scene.defaultInterface
        // Sockets of this host are not forwarded.
        let network6 = scene.hasNAT6 ? nil : scene.network6
        let egress6 = network6 == nil ? nil : HostFirewallInspector.egressInterface6(except: scene.tap)
        guard egress != nil || egress6 != nil else {
            return FirewallCheck(state: .notNeeded("there is no route to the outside"))
        }
        let inspector = HostFirewallInspector(
            tap: scene.tap, network: scene.guests, egress: egress, network6: network6, egress6: egress6)
        return FirewallCheck(state: inspector.findings().map { .read($0) } ?? .unreadable)
    }

    private static func cause(_ owner: HostFirewallInspector.Owner) -> Cause {
        switch owner {
        case .docker: .firewallDocker
        case .ufw: .firewallUFW
        case .firewalld: .firewallFirewalld
        case .iptables: .firewallIPTables
        case .nftables: .firewallNFTables
        }
    }

    var diagnoses: [Diagnosis] {
        switch state {
        case .notNeeded(let reason): Self.ok("not needed: \(reason)")
        case .unreadable:
            [
                Self.warning(
                    .firewallUnreadable, "this user cannot read the rules of this host's firewall",
                    Remedy.sudo("vde_vmnet", "doctor"))
            ]
        case .read(let findings) where findings.isEmpty: Self.ok("no rule of another program drops guests' packets")
        case .read(let findings):
            findings.map { finding in
                Self.failed(
                    Self.cause(finding.owner),
                    "the firewall of this host (\(finding.owner.rawValue)) drops \(finding.effect)",
                    finding.commands.map { "sudo " + $0 }.joined(separator: " && "))
            }
        }
    }
}
