// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import Platform
import Wire

/// nftables, by which a network on a TAP translates addresses.
struct NFTablesCheck: HostCheck {
    static let name = "nftables"

    enum State: Equatable, Sendable {
        case notNeeded
        case missing
        /// The kernel or nft(8) has refused a listing, with this message.
        case refused(String)
        /// By `libnftables` or `nft`.
        case usable(String)
    }

    let state: State
    let installer: Installer

    static func gathered(_ scene: Scene) -> NFTablesCheck {
        func state() -> State {
            guard scene.usesTap else { return .notNeeded }
            guard let installed = NFTables.installed else { return .missing }
            // A user without privilege may not list tables of a network of root.
            guard scene.capabilities.contains(.netAdmin) else { return .usable(installed) }
            do throws(UnclassifiedError) {
                try NFTables().run("list tables\n")
                return .usable(installed)
            } catch {
                return .refused(error.description)
            }
        }
        return NFTablesCheck(state: state(), installer: Installer.found)
    }

    var diagnoses: [Diagnosis] {
        switch state {
        case .notNeeded: Self.ok("not needed: the network has no TAP")
        case .usable(let by): Self.ok("usable, by \(by)")
        case .missing:
            [
                Self.failed(
                    .nftablesMissing, "nftables is not installed, and a network on a TAP needs it",
                    Remedy.install([.apt: "nftables"], by: installer))
            ]
        // Root of a user namespace, in a network namespace that it has no rights for.
        case .refused(let message) where message.contains(text: "Operation not permitted"):
            [
                Self.failed(
                    .nftablesUnusable, "the kernel denies this user its tables, as in a container: \(message)",
                    "vde_vmnet --uplink user")
            ]
        case .refused(let message):
            [
                Self.failed(
                    .nftablesUnusable, "the kernel lists no tables: \(message)", Remedy.sudo("modprobe", "nf_tables"))
            ]
        }
    }
}
