// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import NetworkModel

/// The options of `join` about where guests may go.
struct PolicyOptions: ParsableArguments {
    enum Egress: String, CaseIterable, ExpressibleByArgument {
        case allow, deny
    }

    @Option(
        help: ArgumentHelp(
            "Where guests may go. allow: out. deny: nowhere but where --allow says, this host included. For tap and user. (default: allow)",
            valueName: "policy"))
    var egress: Egress?

    @Option(
        help: ArgumentHelp(
            "With --egress deny: a destination that is allowed, as CIDR[:PORT], such as 203.0.113.0/24:443 or [2001:db8::]/32. May be given again.",
            valueName: "destination"))
    var allow: [String] = []

    @Flag(
        help:
            "User-mode NAT (chosen by this option): the gateway's address leads to what listens on this host's loopback address."
    )
    var hostLoopback = false

    func note(in given: inout GivenOptions) {
        given.note(.egress, egress != nil)
        given.note(.egressDeny, egress == .deny)
        given.note(.allow, !allow.isEmpty)
        given.note(.hostLoopback, hostLoopback)
    }

    /// The options for which `--uplink auto` may come to user mode, for a message.
    var needingUserMode: String {
        hostLoopback ? "--host-loopback" : egress != nil ? "--egress" : "--publish by hardware address or name"
    }

    func apply(to configuration: inout Configuration) throws {
        configuration.egress.isDenying = egress == .deny
        configuration.egress.opensHostLoopback = hostLoopback
        configuration.egress.allowed = try allow.map { text in
            guard let destination = AllowedDestination(text) else {
                throw ValidationError(
                    "--allow: '\(text)' is not CIDR[:PORT], such as 203.0.113.0/24:443 or [2001:db8::]/32:443")
            }
            return destination
        }
    }
}
