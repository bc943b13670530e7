// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import NetworkModel
import Platform
import Wire

extension HostChanges {
    /// Chooses a network that this host does not use, and reserves it against other instances.
    /// - Parameter chosen: the network that the user chose; nil for the first candidate that is free.
    /// - Throws: `alreadyRunning` if another instance has the chosen network, `unavailable` if the host uses it, or
    ///   uses every candidate, `cannotCreate` if the host has no place for the record.
    package static func reserveNetwork(
        _ chosen: GuestNetwork?, logger: Logger
    ) throws(ExitError) -> (GuestNetwork, HostChanges) {
        let directory = try StateDirectories.runtime()
        let uses = try orUnavailable(UsedSubnet.ofHost)
        for network in candidates(chosen) {
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
                    throw overlap(network, conflict)
                }
                return (network, changes)
            }
        }
        throw noFreeNetwork
    }

    /// The same for a network that changes nothing on the host: another user could prevent the record, by filling the
    /// disk, but not the start. Without a record, another network of this user may choose the same addresses.
    /// - Returns: no changes if the host has no place for the record.
    /// - Throws: as `reserveNetwork`, but not `cannotCreate`.
    package static func reserveNetworkIfPossible(
        _ chosen: GuestNetwork?, logger: Logger
    ) throws(ExitError) -> (GuestNetwork, HostChanges?) {
        do throws(ExitError) {
            let (network, changes) = try reserveNetwork(chosen, logger: logger)
            return (network, changes)
        } catch {
            guard error.status == .cannotCreate else { throw error }
            logger.notice("another network of this user may choose the same addresses: \(error)")
        }
        let uses = try orUnavailable(UsedSubnet.ofHost)
        for network in candidates(chosen) {
            guard let conflict = SubnetAllocator.conflict(of: network.network, with: uses) else {
                return (network, nil)
            }
            if chosen != nil { throw overlap(network, conflict) }
        }
        throw noFreeNetwork
    }

    private static func candidates(_ chosen: GuestNetwork?) -> [GuestNetwork] {
        chosen.map { [$0] } ?? SubnetAllocator.candidates
    }

    private static func overlap(_ network: GuestNetwork, _ conflict: UsedSubnet) -> ExitError {
        ExitError(
            .unavailable,
            """
            \(network.network) overlaps \(conflict.network), which this host uses on \(conflict.interface); choose \
            another --vmnet-gateway, or leave it out
            """)
    }

    private static var noFreeNetwork: ExitError {
        ExitError(
            .unavailable, "every network that could be chosen is in use on this host; choose one with --vmnet-gateway")
    }
}
