// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Lifecycle
import Platform
import Uplink

/// An existing network of the host that guests become part of, by an interface that is on it.
struct BridgedNetwork {
    let interface: String
    let index: UInt32
    let kind: BridgeKind
    /// The interface's MTU.
    let mtu: Int

    /// Checks that guests can become part of the network, and that the options have an effect there. The command line
    /// does not show which kind of interface it names.
    init(_ interface: String, _ options: UplinkOptions) throws(ExitError) {
        guard let index = NetworkInterfaces.index(of: interface) else {
            let others = NetworkInterfaces.names().filter { BridgeKind.refusal(of: $0) == nil }
            throw ExitError(
                .unavailable,
                """
                there is no interface \(interface); --vmnet-interface takes one of: \
                \(others.isEmpty ? "(this host has none)" : others.joined(separator: ", "))
                """)
        }
        if let reason = BridgeKind.refusal(of: interface) {
            throw ExitError(
                .usage, "--vmnet-interface \(interface): \(reason); vde_vmnet interfaces lists what can be bridged")
        }
        self.interface = interface
        self.index = index
        kind = BridgeKind(interface: interface)
        mtu = BridgeKind.mtu(of: interface)
        try check(options)
    }

    private func check(_ options: UplinkOptions) throws(ExitError) {
        func refuse(_ option: String, _ reason: String) -> ExitError {
            ExitError(.usage, "\(option) does not go with --vmnet-interface \(interface): \(reason)")
        }
        if options.bridgeHelper != nil, kind != .bridge {
            throw refuse("--bridge-helper", "it is for Linux bridges, and this is not one")
        }
        if kind == .wireless {
            throw ExitError(
                .usage,
                """
                --vmnet-interface \(interface): a Wi-Fi access point drops frames of other stations' addresses; use \
                --vmnet-mode shared
                """)
        }
        guard kind == .nic else { return }
        if options.tapName != nil {
            throw refuse("--tap-name", "a NIC is bridged by a packet socket, without a TAP; a Linux bridge takes one")
        }
        // The start report contains the identifier, so it has an effect there.
        if options.interfaceID != nil, !options.reportsInterfaceID {
            throw refuse(
                "--vmnet-interface-id", "a NIC is bridged by a packet socket, which has no separate hardware address")
        }
    }

    /// Makes the record of this instance, whose name cannot be taken by another one.
    func reserve(_ context: UplinkContext) throws(ExitError) -> HostChanges {
        let directory = try StateDirectories.runtime()
        let name = "bridged-\(interface)-\(CurrentProcess.identifier)"
        guard case .reserved(let changes) = try HostChanges.reserve(name, in: directory, logger: context.logger) else {
            throw ExitError(.alreadyRunning, "another process has this process's id in \(directory)")
        }
        return changes
    }
}

/// Makes the uplink of the kind that an interface needs.
/// - Throws: `usage` or `unavailable` if guests cannot become part of the interface's network.
package func makeBridgedUplink(
    to interface: String, _ options: UplinkOptions, _ context: UplinkContext
) throws(ExitError) -> any Uplink {
    let network = try BridgedNetwork(interface, options)
    return network.kind == .nic ? PacketUplink(network, context) : BridgedUplink(network, options, context)
}
