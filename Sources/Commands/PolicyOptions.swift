// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Uplinks

/// The options of `join` about where guests may go.
struct PolicyOptions: ParsableArguments {
    enum Egress: String, CaseIterable, ExpressibleByArgument {
        case allow, deny
    }

    @Option(help: ArgumentHelp("Where guests may go. allow: out. deny: nowhere but where --allow says, this host included. For tap and user.", valueName: "policy"))
    var egress: Egress = .allow

    @Option(help: ArgumentHelp("With --egress deny: a destination that is allowed, as CIDR[:PORT], such as 203.0.113.0/24:443 or [2001:db8::]/32. May be given again.", valueName: "destination"))
    var allow: [String] = []

    @Flag(help: "With --uplink user: the gateway's address leads to what listens on this host's loopback address.")
    var hostLoopback = false

    /// Puts them into `configuration`, whose way out and mode are there already.
    func apply(to configuration: inout Configuration) throws {
        if !allow.isEmpty && egress != .deny { throw ValidationError("--allow goes with --egress deny: without it everything is allowed") }
        if egress == .deny {
            guard configuration.mode == .shared else { throw ValidationError("--egress goes with --vmnet-mode shared: in the others we do not lead guests out") }
            guard [.auto, .tap, .user].contains(configuration.uplink) else {
                throw ValidationError("--egress deny goes with --uplink tap and --uplink user, not with \(configuration.uplink.rawValue)")
            }
        }
        if hostLoopback, ![.auto, .user].contains(configuration.uplink) || configuration.mode != .shared { throw ValidationError("--host-loopback goes with --uplink user") }
        configuration.egress.isDenying = egress == .deny
        configuration.egress.opensHostLoopback = hostLoopback
        configuration.egress.allowed = try allow.map { text in
            guard let destination = AllowedDestination(text) else { throw ValidationError("--allow: '\(text)' is not CIDR[:PORT], such as 203.0.113.0/24:443 or [2001:db8::]/32:443") }
            return destination
        }
    }
}
