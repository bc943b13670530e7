// SPDX-License-Identifier: Apache-2.0

/// The users that may join a switch: owner and mode of its directory and sockets, by the rules of vde_switch(1).
package struct SwitchAccess: Equatable, Sendable {
    /// Of the control socket; nil: 0600.
    package var mode: UInt16?
    /// Of the directory; nil: made from `mode`.
    package var directoryMode: UInt16?
    /// The group of the directory and the sockets.
    package var group: UInt32?
    /// The owner of the directory and the control socket, if that is not the switch's user: the user that called sudo.
    package var owner: (user: UInt32, group: UInt32)?

    package init(
        mode: UInt16? = nil, directoryMode: UInt16? = nil, group: UInt32? = nil,
        owner: (user: UInt32, group: UInt32)? = nil
    ) {
        self.mode = mode
        self.directoryMode = directoryMode
        self.group = group
        self.owner = owner
    }

    package static func == (one: SwitchAccess, other: SwitchAccess) -> Bool {
        one.mode == other.mode && one.directoryMode == other.directoryMode && one.group == other.group
            && one.owner?.user == other.owner?.user
            && one.owner?.group == other.owner?.group
    }

    /// The mode of the control socket.
    package var controlMode: UInt16 { mode ?? directoryMode.map { $0 & 0o666 } ?? 0o600 }

    /// The mode of the directory: users that may use the control socket may also enter the directory.
    package var effectiveDirectoryMode: UInt16 {
        if let directoryMode { return directoryMode }
        guard let mode else { return 0o2700 }
        var result: UInt16 = 0o2000
        for shift in [6, 3, 0] as [UInt16] {
            let bits = mode >> shift & 0o6
            if bits != 0 { result |= (bits | 1) << shift }
        }
        return result
    }

    /// The group of the directory and the control socket; nil: the process's own.
    package var ownerGroup: UInt32? { group ?? owner?.group }

    /// The mode and the owner of a port's data socket.
    /// - Parameters:
    ///   - user: the user that joined.
    ///   - isRoot: the switch can change the owner of sockets.
    func dataSocket(user: UInt32?, isRoot: Bool, mode: UInt16) -> (mode: UInt16, owner: UInt32?) {
        guard isRoot, let user else { return (mode, nil) }
        return (mode & 0o700, user)
    }
}
