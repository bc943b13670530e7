// SPDX-License-Identifier: Apache-2.0
import Platform

/// The program, and what its user may do.
struct ProgramCheck: HostCheck {
    static let name = "program"

    let version: String
    let isRoot: Bool
    let hasNetAdmin: Bool
    let hasVmnet: Bool
    let isMacOS: Bool
    /// nil: none runs.
    let uplink: String?

    static func gathered(_ scene: Scene) -> ProgramCheck {
        ProgramCheck(
            version: scene.identity.version, isRoot: scene.user == 0,
            hasNetAdmin: scene.capabilities.contains(.netAdmin), hasVmnet: scene.identity.hasVmnet,
            isMacOS: scene.identity.isMacOS, uplink: scene.network?.uplink)
    }

    var diagnoses: [Diagnosis] {
        if let uplink { return Self.ok("vde_vmnet \(version); the network runs with the uplink \(uplink)") }
        if isMacOS { return Self.ok("vde_vmnet \(version); vmnet.framework: \(hasVmnet ? "yes" : "no")") }
        if hasNetAdmin { return Self.ok("vde_vmnet \(version), with the privilege for a TAP") }
        if isRoot {
            return [
                Self.warning(
                    .noNetAdmin,
                    """
                    this user is root without CAP_NET_ADMIN, as in a container; a TAP is impossible, and the \
                    user-mode NAT is used instead
                    """, "vde_vmnet --uplink user")
            ]
        }
        return [
            Self.warning(
                .notRoot,
                """
                without root, a network has the user-mode NAT; checks of a TAP are left out
                """, Remedy.sudo("vde_vmnet", "doctor"))
        ]
    }
}
