// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import NetworkModel
import Wire

/// The options of `join` about who gets which address.
struct AddressOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Who gives addresses. auto: we do, unless the network has a server. builtin: we do. system: a server on this host: yours on the TAP, on macOS Apple's. off: nobody here; a guest may.",
            valueName: "who"))
    var dhcp: Configuration.DHCP?

    @Flag(help: "The same as --dhcp off.")
    var vmnetDisableDhcp = false

    @Option(
        help: ArgumentHelp(
            "An address of its own for a machine: MAC,IP, such as 52:54:00:00:00:01,192.168.105.10. May be given again.",
            valueName: "mac,ip"))
    var dhcpHost: [AddressReservation] = []

    func note(in given: inout GivenOptions) {
        given.note(.dhcp, dhcp != nil && dhcp != .off)
        given.note(.dhcpSystem, dhcp == .system)
        given.note(.dhcpOff, dhcp == .off)
        given.note(.disableDHCP, vmnetDisableDhcp)
        given.note(.dhcpHost, !dhcpHost.isEmpty)
    }

    /// Puts them into `configuration`, whose mode and network are there already.
    /// - Parameter hasSystemServer: the system's server can be told of reservations.
    func apply(to configuration: inout Configuration, hasSystemServer: Bool) throws {
        configuration.dhcp = vmnetDisableDhcp ? .off : dhcp ?? .auto
        if !dhcpHost.isEmpty, configuration.dhcp == .system, !hasSystemServer {
            throw ValidationError(
                "--dhcp-host does not go with --dhcp system on this uplink: configure your own server, or use --dhcp builtin"
            )
        }
        for (index, one) in dhcpHost.enumerated() {
            if let other = dhcpHost[..<index].first(where: { $0.address == one.address || $0.hardware == one.hardware })
            {
                throw ValidationError(
                    "--dhcp-host: \(one) and \(other) are about the same \(one.address == other.address ? "address" : "machine")"
                )
            }
            if let network = configuration.network, let reason = network.refusal(of: one) {
                throw ValidationError("--dhcp-host: \(reason)")
            }
        }
        configuration.reservations = dhcpHost
    }
}

extension AddressReservation: ExpressibleByArgument {
    package init?(argument: String) { self.init(argument) }
}
