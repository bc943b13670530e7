// SPDX-License-Identifier: Apache-2.0
import Platform

/// The MTU of the way to the outside.
struct MTUCheck: HostCheck {
    static let name = "mtu"
    /// Every IPv6 link carries packets of this length (RFC 8200 section 5).
    private static let smallest = 1280

    /// The egress interface and the MTU of the path by it; nil if there is no way to the outside.
    let path: (interface: String, mtu: Int)?
    /// The guests' MTU, if a network runs whose frames the kernel routes.
    let guests: Int?
    let networkName: String
    let start: [String]

    static func gathered(_ scene: Scene) -> MTUCheck {
        let network = scene.network
        return MTUCheck(
            path: scene.path, guests: network.flatMap { $0.isRouted ? $0.mtu : nil },
            networkName: network?.socket ?? "",
            start: network.map { NetworkFacts.commandLine(of: $0.process) } ?? [])
    }

    var diagnoses: [Diagnosis] {
        guard let path else { return Self.ok("not measured: there is no way to the outside") }
        if path.mtu < Self.smallest {
            return [
                Self.warning(
                    .mtuSmall, "\(path.interface) has an MTU of \(path.mtu), and IPv6 needs \(Self.smallest)",
                    Remedy.sudo("ip", "link", "set", "dev", path.interface, "mtu", "1500"))
            ]
        }
        if let guests, guests > path.mtu {
            return [
                Self.warning(
                    .mtuExceedsPath,
                    """
                    guests have an MTU of \(guests), and the path by \(path.interface) one of \(path.mtu): guests that \
                    do not take the MTU of their lease depend on ICMP
                    """, Remedy.restart(networkName, start, with: ["--vmnet-mtu", "\(path.mtu)"]))
            ]
        }
        return Self.ok("\(path.mtu) bytes by \(path.interface)")
    }
}
