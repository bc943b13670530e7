// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import NetworkModel
import Wire

/// The options of `join` about DHCP.
struct AddressOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Which DHCP server serves the guests:
            auto: vde_vmnet, unless the network already has a server (default)
            builtin: vde_vmnet
            system: a server on this host (on macOS, Apple's)
            off: none on this host
            """,
            valueName: "server"))
    var dhcp: Configuration.DHCP?

    @Flag(help: "Same as --dhcp off.")
    var vmnetDisableDhcp = false

    @Option(
        help: ArgumentHelp(
            """
            Always assign this address to the guest with this hardware address, such as \
            52:54:00:00:00:01,192.168.105.10. May be repeated.
            """,
            valueName: "mac,ip"))
    var dhcpHost: [AddressReservation] = []

    func note(in given: inout GivenOptions) {
        given.note(.dhcp, dhcp != nil && dhcp != .off)
        given.note(.dhcpSystem, dhcp == .system)
        given.note(.dhcpOff, dhcp == .off)
        given.note(.disableDHCP, vmnetDisableDhcp)
        given.note(.dhcpHost, !dhcpHost.isEmpty)
    }

    /// Stores them in `configuration`, whose mode and network must be set.
    /// - Parameter hasSystemServer: whether the system's server accepts reservations.
    func apply(to configuration: inout Configuration, hasSystemServer: Bool) throws {
        configuration.dhcp = vmnetDisableDhcp ? .off : dhcp ?? .auto
        if !dhcpHost.isEmpty, configuration.dhcp == .system, !hasSystemServer {
            throw ValidationError(
                """
                --dhcp-host does not go with --dhcp system on this uplink: reserve the address in that server's \
                configuration, or use --dhcp builtin
                """
            )
        }
        for (index, one) in dhcpHost.enumerated() {
            if let other = dhcpHost[..<index].first(where: { $0.address == one.address || $0.hardware == one.hardware })
            {
                throw ValidationError(
                    """
                    --dhcp-host: \(one) and \(other) name the same \
                    \(one.address == other.address ? "address" : "guest"); leave one out
                    """
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
