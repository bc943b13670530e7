// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire
import Uplink

/// Other programs' DNS and DHCP servers on this host.
struct ServicePortCheck: HostCheck {
    static let name = "ports"

    /// A socket that other programs' clients reach at every address of the host.
    struct Owner: Equatable, Sendable {
        let process: Int32
        /// As the process calls itself: any bytes.
        let program: String
    }

    /// The servers at port 53 of all addresses or of 127.0.0.1.
    let dns: Owner?
    /// The servers at port 67 of all addresses.
    let dhcp: Owner?
    /// Whether the DHCP server serves one interface only, such as libvirt's bridge.
    let isDHCPConfined: Bool

    static func gathered(_ scene: Scene) -> ServicePortCheck {
        let own = scene.network?.process
        let dhcp = SocketOwnerLookup.wildcardOwner(.udp, 67)
        let dns = SocketOwnerLookup.wildcardOwner(.udp, 53) ?? SocketOwnerLookup.wildcardOwner(.tcp, 53)
        // libvirt runs a dnsmasq for each of its networks, which is bound to the network's bridge.
        let line = dhcp.flatMap { Files.text("/proc/\($0.process)/cmdline") } ?? ""
        return ServicePortCheck(
            dns: dns.flatMap { $0.process == own ? nil : Owner(process: $0.process, program: $0.program) },
            dhcp: dhcp.flatMap { $0.process == own ? nil : Owner(process: $0.process, program: $0.program) },
            isDHCPConfined: line.contains(text: "/libvirt/"))
    }

    private static let services: Set = ["dnsmasq", "named", "unbound", "kea-dhcp4", "dhcpd", "systemd-resolved"]

    private static func stop(_ owner: Owner) -> String {
        switch owner.program {
        case "systemd-resolve": Remedy.sudo("systemctl", "stop", "systemd-resolved")
        case let name where services.contains(name): Remedy.sudo("systemctl", "stop", name)
        default: Remedy.sudo("kill", "\(owner.process)")
        }
    }

    var diagnoses: [Diagnosis] {
        var found: [Diagnosis] = []
        if let dns {
            found.append(
                Self.warning(
                    .port53Taken,
                    """
                    \(dns.program) (process \(dns.process)) has port 53 of every address; guests' queries are answered \
                    nevertheless, but --host-dns and --publish cannot use the port
                    """, Self.stop(dns)))
        }
        if let dhcp, !isDHCPConfined {
            found.append(
                Self.warning(
                    .port67Taken,
                    """
                    \(dhcp.program) (process \(dhcp.process)) is a DHCP server on every interface; with --dhcp auto, \
                    it may take the place of vde_vmnet's server
                    """, Self.stop(dhcp)))
        }
        return found.isEmpty ? Self.ok("no other server has the ports 53 and 67 of every address") : found
    }
}
