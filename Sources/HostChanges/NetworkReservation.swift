// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import NetworkModel
import Platform
import Wire

extension HostChanges {
    /// Chooses a network that this host does not use, and reserves it against other instances.
    /// - Parameter chosen: the network that the user wants; nil for the first candidate that is free.
    /// - Throws: `alreadyRunning` if another instance has the chosen network, `unavailable` if the host uses it, or
    ///   uses every candidate.
    package static func reserveNetwork(
        _ chosen: GuestNetwork?, logger: Logger
    ) throws(ExitError) -> (GuestNetwork, HostChanges) {
        let directory = try StateDirectories.runtime()
        let uses = try orUnavailable(UsedSubnet.ofHost)
        for network in chosen.map({ [$0] }) ?? SubnetAllocator.candidates {
            if chosen == nil, SubnetAllocator.conflict(of: network.network, with: uses) != nil { continue }
            let name = network.network.description.replacing(text: "/", with: "-")
            switch try reserve(name, in: directory, logger: logger) {
            case .taken(let process):
                if chosen == nil { continue }
                throw ExitError(
                    .alreadyRunning,
                    """
                    \(network.network) is served by another vde_vmnet\(process > 0 ? " (process \(process))" : ""); \
                    stop it first, or choose another --vmnet-gateway
                    """)
            case .reserved(let changes):
                if let conflict = SubnetAllocator.conflict(of: network.network, with: uses) {
                    changes.undo()
                    throw ExitError(
                        .unavailable,
                        """
                        \(network.network) overlaps \(conflict.network), which this host uses on \
                        \(conflict.interface); \
                        choose another --vmnet-gateway, or leave it out
                        """)
                }
                return (network, changes)
            }
        }
        throw ExitError(
            .unavailable, "every network that could be chosen is in use on this host; choose one with --vmnet-gateway")
    }
}
