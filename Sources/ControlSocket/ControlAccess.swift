// SPDX-License-Identifier: Apache-2.0
import Platform

/// What a client of the control socket may do.
package struct ControlRights: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Read counters, and facts that name no guest and no destination.
    package static let counters = ControlRights(rawValue: 1)
    /// Read guests' names and addresses, leases, flows, events.
    package static let details = ControlRights(rawValue: 2)
    /// Change the network as far as the start granted it, and stop it.
    package static let change = ControlRights(rawValue: 4)
    /// Publish ports at addresses, and below the limit, that the start did not grant.
    package static let publishAnywhere = ControlRights(rawValue: 8)
    /// Loosen the egress policy and the isolation of guests.
    package static let loosen = ControlRights(rawValue: 16)

    /// Read the frames of guests.
    package static let capture = ControlRights(rawValue: 32)

    /// Root's.
    package static let all: ControlRights = [.counters, .details, .change, .publishAnywhere, .loosen, .capture]

    /// The names of the rights in the protocol.
    package var names: [String] {
        let all: [(ControlRights, String)] = [
            (.counters, "counters"), (.details, "details"), (.change, "change"), (.publishAnywhere, "publish"),
            (.loosen, "egress"), (.capture, "capture"),
        ]
        return all.filter { contains($0.0) }.map(\.1)
    }
}

/// What the start grants to an owner who is not root (`--control-allow`).
package enum ControlGrant: String, CaseIterable, Sendable {
    case publish, egress, capture

    var right: ControlRights {
        switch self {
        case .publish: .publishAnywhere
        case .egress: .loosen
        case .capture: .capture
        }
    }
}

/// Which users may do what at the control socket of one network.
package struct ControlAccess: Equatable, Sendable {
    /// The network's owner: the user that started it, by sudo or not.
    package var owner: UInt32
    /// Root started the network, so that its owner may have fewer rights than the process.
    package var isStartedByRoot: Bool
    /// The members of this group may read counters.
    package var group: UInt32?
    /// What an owner who is not root may do on a network that root started, besides what the start has made.
    package var grants: Set<ControlGrant> = []

    /// The access of the network that this process starts.
    package init() {
        owner = CurrentProcess.sudoCaller?.user ?? CurrentProcess.effectiveUser
        isStartedByRoot = CurrentProcess.effectiveUser == 0
    }

    /// The rights of a peer; empty for none.
    /// - Parameters:
    ///   - peerGroup: the peer's primary group, as the kernel reports it.
    ///   - isMember: whether the database lists the user as a member of a group.
    package func rights(
        user: UInt32, peerGroup: UInt32,
        isMember: (UInt32, UInt32) -> Bool = { UserDatabase.isMember($0, of: $1) }
    ) -> ControlRights {
        if user == 0 { return .all }
        if user == owner {
            // An owner that started the process itself could start it with other options.
            guard isStartedByRoot else { return .all }
            return grants.reduce([.counters, .details, .change]) { $0.union($1.right) }
        }
        guard let group, peerGroup == group || isMember(user, group) else { return [] }
        return .counters
    }
}
