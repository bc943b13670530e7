// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import Platform

/// Rules of other programs that drop guests' packets.
struct FirewallCheck: HostCheck {
    static let name = "firewall"

    enum State: Equatable, Sendable {
        /// With the reason.
        case notNeeded(String)
        /// This user may not read the rules.
        case denied
        /// nft(8) cannot list the rules.
        case unreadable
        case read(HostFirewallInspector.Assessment)
    }

    let state: State
    /// The control socket of the running network; nil if none runs.
    let socket: String?

    init(state: State, socket: String? = nil) {
        self.state = state
        self.socket = socket
    }

    static func gathered(_ scene: Scene) -> FirewallCheck {
        guard scene.isRouted else {
            return FirewallCheck(state: .notNeeded("this host does not route guests' packets"))
        }
        guard scene.capabilities.contains(.netAdmin) else {
            return FirewallCheck(state: .denied, socket: scene.network?.socket)
        }
        let egress = scene.path?.interface ?? scene.defaultInterface
        let network6 = scene.network6
        // Sockets of this host are not forwarded.
        let isForwarded6 = network6 != nil && !scene.hasNAT6
        let egress6 = isForwarded6 ? HostFirewallInspector.egressInterface6(except: scene.tap) : nil
        let inspector = HostFirewallInspector(
            tap: scene.tap, network: scene.guests, egress: egress, network6: network6, egress6: egress6)
        guard let assessment = inspector.assessment() else { return FirewallCheck(state: .unreadable) }
        // Packets to the gateway need no route.
        if assessment.findings.isEmpty, assessment.doubtful == 0, egress == nil, egress6 == nil {
            return FirewallCheck(state: .notNeeded("there is no route to the outside"))
        }
        return FirewallCheck(state: .read(assessment))
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
        case .denied:
            [
                Self.warning(
                    .firewallUnreadable, "this user cannot read the rules of this host's firewall",
                    ShellText.command(["sudo", "vde_vmnet", "doctor"] + (socket.map { [$0] } ?? [])))
            ]
        case .unreadable:
            [
                Self.warning(
                    .firewallUnreadable, "nft cannot list the rules of this host's firewall",
                    Remedy.sudo("nft", "list", "ruleset"))
            ]
        case .read(let assessment) where assessment.findings.isEmpty && assessment.doubtful == 0:
            Self.ok("no rule of another program drops guests' packets")
        case .read(let assessment):
            doubts(assessment)
                + assessment.findings.map { finding in
                    let detail = "the firewall of this host (\(finding.owner.rawValue)) drops \(finding.effect)"
                    let command = finding.commands.map { "sudo " + $0 }.joined(separator: " && ")
                    // Guests need no pings.
                    return finding.purpose == .pings
                        ? Self.warning(Self.cause(finding.owner), detail, command)
                        : Self.failed(Self.cause(finding.owner), detail, command)
                }
        }
    }

    /// Rules whose effect is not known.
    private func doubts(_ assessment: HostFirewallInspector.Assessment) -> [Diagnosis] {
        guard let first = assessment.firstDoubtful else { return [] }
        let count = assessment.doubtful == 1 ? "a rule" : "\(assessment.doubtful) rules"
        let table = PrintableText.line("\(first.family) \(first.table)", limit: 128)
        let chain = PrintableText.line(first.chain, limit: 128)
        return [
            Self.warning(
                .firewallUnclear,
                "\(count) of other programs may drop guests' packets, by conditions that are not understood; the first "
                    + "is in the table \(table), chain \(chain)",
                Remedy.sudo("nft", "list", "chain", first.family, first.table, first.chain))
        ]
    }
}
